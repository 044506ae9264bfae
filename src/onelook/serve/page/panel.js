// What was found, in words: the summary, the classes, the list.

import { css } from "./colours.js";
import { colourOf, found, hasPlaces, isPainted } from "./draw.js";
import { $, result, shownRows, state } from "./state.js";

/** What is waited for, or else what was found. */
export function say(text) {
  state.waiting = text;
  renderStatus();
}

export function renderStatus() {
  $("status").setAttribute("aria-live", state.camera ? "off" : "polite"); // nobody can listen to every frame
  const text = result() ? summary() : state.waiting || summary();
  $("status").classList.toggle("soft", !result());
  if ($("status").textContent !== text) $("status").textContent = text;
  $("progress").textContent = result() ? state.waiting : "";
}

export function summary() {
  const of = result();
  if (state.item?.problem) return `There is no result for ${state.item.name}.`;
  if (!of) return state.item ? "" : "What is on your pictures is listed here.";
  const rows = shownRows(of).map((i) => found(of)[i]);
  if (!of.detections) {
    if (!rows.length) return "Nothing";
    return rows[0].share === undefined
      ? `${percent(rows[0].score)} ${rows[0].name}`
      : rows.map((row) => row.name).join(", ");
  }
  if (!rows.length) return found(of).length ? "Nothing with this confidence and these classes." : "Nothing was found.";
  const counts = new Map();
  for (const { name } of rows) counts.set(name, (counts.get(name) ?? 0) + 1);
  const each = [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => (count > 1 ? `${count} × ${name}` : name));
  return `${rows.length} ${rows.length > 1 ? "objects" : "object"}: ${each.join(", ")}`;
}

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

export function renderTiming() {
  const answer = state.item?.answer;
  const milliseconds = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  $("timing").textContent = !answer
    ? ""
    : [
        answer.place === "server"
          ? `Server ${milliseconds(answer.seconds)}`
          : `This computer ${milliseconds(answer.seconds)}`,
        answer.place === "server" ? `${milliseconds(answer.total)} in all` : "",
        answer.rate ? `${answer.rate.toFixed(1)} frames/s` : "",
      ]
        .filter(Boolean)
        .join(" · ");
}

export function renderClasses() {
  const of = result();
  const counts = new Map();
  if (of && hasPlaces(of)) {
    const least = of.detections ? Number($("threshold").value) : 0;
    found(of)
      .filter(isPainted)
      .forEach((row) => {
        if ((row.score ?? 1) < least && !state.hidden.has(row.name)) return;
        const one = counts.get(row.name) ?? { count: 0, number: row.class };
        one.count += (row.score ?? 1) >= least;
        counts.set(row.name, one);
      });
  }
  const entries = [...counts].sort((a, b) => a[1].number - b[1].number);
  const key = JSON.stringify(entries.map(([name, { count }]) => [name, count]));
  $("classes").hidden = entries.length === 0;
  const box = $("classes").lastElementChild;
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  const focused = document.activeElement?.closest("#classes") ? document.activeElement.value : null;
  box.replaceChildren(
    ...entries.map(([name, { count, number }]) => {
      const input = Object.assign(document.createElement("input"), { type: "checkbox", value: name });
      input.checked = !state.hidden.has(name);
      const parts = [input, text("name", name)];
      if (of.detections) parts.push(text("number soft", count));
      if (!(of.detections && found(of)[0]?.rle)) parts.splice(1, 0, swatch(number));
      return element("label", "", ...parts);
    }),
  );
  if (focused !== null) box.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
}

export function renderList() {
  const of = result();
  const rows = shownRows(of);
  const key = of && [state.item.answer, ...rows];
  $("list").hidden = !rows.length;
  if (
    key &&
    $("list").key &&
    key.length === $("list").key.length &&
    key.every((value, i) => value === $("list").key[i])
  ) {
    return highlightRow();
  }
  const focused = focusedRow();
  $("list").key = key;
  $("list").replaceChildren(...rows.map((i) => listItem(of, i)));
  if (!rows.includes(state.highlighted)) state.highlighted = -1;
  highlightRow();
  if (focused >= 0) ($("list").querySelector(`[data-row="${focused}"]`) ?? $("list").firstElementChild)?.focus();
}

/** The row of the list that has the keyboard, or -1. */
export const focusedRow = () => Number(document.activeElement?.closest("#list [role=option]")?.dataset.row ?? -1);

function listItem(of, i) {
  const row = found(of)[i];
  const number = row.share === undefined ? row.score.toFixed(2) : percent(row.share);
  const mark = isPainted(row) ? swatch(colourOf(of, i)) : element("span", "swatch");
  const parts = [mark, text("name", row.name), " ", text("number", number)]; // the space is for those who listen
  if (!hasPlaces(of)) {
    const bar = element("span", "bar");
    bar.style.setProperty("--share", row.score);
    parts.push(bar);
  }
  const item = element("li", "", ...parts);
  item.title = row.box ? `${row.name}: ${row.box.map(Math.round).join(", ")}` : row.name;
  item.setAttribute("role", "option");
  item.dataset.row = i;
  return item;
}

function highlightRow() {
  const items = [...$("list").children];
  const current = items.find((item) => Number(item.dataset.row) === state.highlighted);
  for (const item of items) {
    item.setAttribute("aria-selected", String(item === current));
    item.tabIndex = item === (current ?? items[0]) ? 0 : -1; // one stop of the Tab key; arrows go on
  }
  return current;
}

/** Marks a row, and moves the list to it if wanted. */
export function markRow(row, scroll) {
  state.highlighted = row;
  const item = highlightRow();
  if (scroll && item) {
    const list = $("list"); // alone: the page itself is not to jump
    const [top, bottom] = [item.offsetTop - list.offsetTop, item.offsetTop - list.offsetTop + item.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  }
}

export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

const text = (className, content) => element("span", className, String(content));

function swatch(number) {
  const made = element("span", "swatch");
  made.style.background = css(number);
  return made;
}
