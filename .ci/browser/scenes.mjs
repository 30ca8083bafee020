// All scenes, in order.

import { approving, denying, forMinutes } from "./deciding.mjs";
import { names, unfoldFirst, withoutAScript } from "./folded.mjs";
import { hostileTexts, longTexts } from "./hostile.mjs";
import { keysAlone, keysOnAnItem } from "./keys.mjs";
import { accessibility, lightAndDark, onAPhone } from "./looks.mjs";
import {
  changingUnderAPointer,
  comingUnderAPointer,
  doubleClick,
  goingUnderAPointer,
  onANewPage,
  underAFinger,
  underAStillPointer,
  underTheFocus,
} from "./moving.mjs";
import { between, everywhere, lost } from "./lost.mjs";
import { many } from "./many.mjs";
import { notifications, sentToThePage } from "./notices.mjs";
import { named, namedOnAPhone } from "./named.mjs";
import { passphrase } from "./passphrase.mjs";
import { deciding, inReach, installing, pairing, revoking, theft, wrongWays } from "./phone.mjs";
import { aThousand, takingOver } from "./servers.mjs";
import { otherPages, otherPrograms } from "./strangers.mjs";
import { together } from "./together.mjs";
import { lateList, titleAndHistory, twoTabs } from "./tabs.mjs";

export const SCENES = [
  ["approving", approving],
  ["denying", denying],
  ["for minutes", forMinutes],
  ["hostile texts", hostileTexts],
  ["long texts", longTexts],
  ["unfold first", unfoldFirst],
  ["without a script", withoutAScript],
  ["names", names],
  ["two tabs", twoTabs],
  ["a late list", lateList],
  ["keys alone", keysAlone],
  ["keys on an item", keysOnAnItem],
  ["coming under a pointer", comingUnderAPointer],
  ["going under a pointer", goingUnderAPointer],
  ["changing under a pointer", changingUnderAPointer],
  ["a still pointer", underAStillPointer],
  ["double click", doubleClick],
  ["under the focus", underTheFocus],
  ["under a finger", underAFinger],
  ["a new page under a pointer", onANewPage],
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
  ["who decided", named],
  ["who decided, on a phone", namedOnAPhone],
  ["one, five and two hundred", many],
  ["several at once", together],
  ["a lost connection", lost],
  ["between page and events", between],
  ["decided everywhere", everywhere],
];

/** The page for paired devices. */
export const PHONE_SCENES = [
  ["pairing a phone", pairing],
  ["a phone decides", deciding],
  ["a phone is revoked", revoking],
  ["wrong ways to the phone's page", wrongWays],
  ["theft from a phone", theft],
  ["installing the page", installing],
  ["in a finger's reach", inReach],
];

/** The scenes of the local page that are about its login, its process or its address. `phone.mjs` has what replaces them. */
export const WITHOUT_A_PHONE = [
  sentToThePage,
  takingOver,
  aThousand,
  otherPrograms,
  otherPages,
  namedOnAPhone,
];
