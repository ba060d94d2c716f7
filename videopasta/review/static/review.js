"use strict";
// Keys for the buttons of the page. Everything works without them, by the buttons themselves.

const decide = document.getElementById("decide");
const clip = document.getElementById("clip");
const edit = document.getElementById("edit");

const press = (action) => decide.querySelector(`button[value="${action}"]`).click();
const follow = (id) => document.getElementById(id)?.click();

const KEYS = {
  a: () => press("accept"),
  r: () => press("reject"),
  s: () => press("swap"),
  u: () => document.getElementById("undo").requestSubmit(),
  e: () => { edit.open = true; edit.querySelector("textarea").focus(); },
  ArrowLeft: () => follow("previous"),
  ArrowRight: () => follow("next"),
  " ": () => (clip.paused ? clip.play() : clip.pause()),
};

if (decide) {
  let sent = false;
  for (const form of [decide, document.getElementById("undo")]) {
    form.addEventListener("submit", (event) => {
      if (sent) event.preventDefault(); // a key that is held down decides once
      sent = true;
    });
  }
  // A page that the browser brings back from its memory may be sent again.
  addEventListener("pageshow", () => { sent = false; });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && edit.contains(event.target)) {
      event.preventDefault();
      press("edit");
    } else if (event.key === "Escape" && typing) {
      event.target.blur();
    } else if (!typing && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const onControl = event.target.matches("button, summary, a, video, .strip");
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!(key in KEYS) || (onControl && [" ", "ArrowLeft", "ArrowRight"].includes(key))) return;
      event.preventDefault();
      KEYS[key]();
    }
  });

  const tell = () => { document.getElementById("clip-problem").hidden = false; };
  clip.addEventListener("error", tell);
  if (clip.error) tell(); // before this script ran
}
