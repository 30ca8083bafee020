// All scenes, in the order in which they are played.

import { approving, denying, forMinutes } from "./deciding.mjs";

export const SCENES = [
  ["approving", approving],
  ["denying", denying],
  ["for minutes", forMinutes],
];
