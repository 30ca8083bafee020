// All scenes, in the order in which they are played.

import { approving, denying, forMinutes } from "./deciding.mjs";
import { hostileTexts, longTexts } from "./hostile.mjs";
import { keysAlone, keysOnAnItem } from "./keys.mjs";
import { accessibility, lightAndDark, onAPhone } from "./looks.mjs";
import { notifications, sentToThePage } from "./notices.mjs";
import { passphrase } from "./passphrase.mjs";
import { aThousand, takingOver } from "./servers.mjs";
import { otherPages, otherPrograms } from "./strangers.mjs";
import { lateList, titleAndHistory, twoTabs } from "./tabs.mjs";

export const SCENES = [
  ["approving", approving],
  ["denying", denying],
  ["for minutes", forMinutes],
  ["hostile texts", hostileTexts],
  ["long texts", longTexts],
  ["two tabs", twoTabs],
  ["a late list", lateList],
  ["keys alone", keysAlone],
  ["keys on an item", keysOnAnItem],
  ["title and history", titleAndHistory],
  ["on a phone", onAPhone],
  ["light and dark", lightAndDark],
  ["accessibility", accessibility],
  ["notifications", notifications],
  ["sent to the page", sentToThePage],
  ["taking over", takingOver],
  ["a thousand", aThousand],
  ["other programs", otherPrograms],
  ["other pages", otherPages],
  ["passphrase", passphrase],
];
