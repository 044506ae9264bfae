// Pictures looked at by the server. Like computer.js it has `look(model, file, options)`.

import { ask, Problem } from "./api.js";

/**
 * What is on a picture.
 *
 * @param model one of /v1/models.
 * @param file a File or Blob.
 * @param options {source, threshold, top, signal, say}: the picture's name, the least score, how many classes, and see `ask`.
 * @return what the server answers for one picture: {model, seconds, results: [result]}.
 */
export async function look(model, file, { source, threshold, top, signal, say }) {
  const wanted = new URLSearchParams({ model: model.name });
  if (model.task === "classify") wanted.set("top", top);
  if (model.task === "detect") wanted.set("threshold", threshold);
  const body = new FormData();
  body.append("file", file, source);
  const answer = await ask(`v1/${model.task}?${wanted}`, { method: "POST", body, signal, say });
  const [result] = answer.results ?? [];
  if (!result || result.problem) throw new Problem(result?.problem.detail ?? "The server's answer is empty.", 400);
  return answer;
}
