// What went wrong, on the page.

import { Problem } from "./api.js";
import { say } from "./panel.js";
import { $ } from "./state.js";

/** Says what went wrong, with a button that calls `again`; asks for the key where that is what is missing. */
export function complain(error, again = null) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    if ($("key").hidden) {
      $("key").hidden = false;
      $("key").querySelector("input").focus();
      say("");
      return;
    }
    error = new Problem("The server does not know this key.");
    again = null;
  }
  say("");
  const message = error instanceof Problem ? error.message : `Something went wrong in this page: ${error.message}`;
  $("problem").hidden = false;
  $("problem").querySelector("p").textContent = message;
  $("problem").querySelector(".again").hidden = !again;
  $("problem").again = again;
}

export function clearProblem() {
  $("problem").hidden = true;
  $("problem").item = undefined;
}
