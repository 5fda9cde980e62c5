// Requests to the hub. A refusal is an Error whose message the hub wrote for a person.

export class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

async function request(method, path, body) {
  const options = { method, headers: { Accept: "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch("/api/v1/" + path, options);
  } catch {
    throw new Refused("the hub is not reached", 0);
  }
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(document.error ?? `the hub answered ${answer.status}`, answer.status);
  return document;
}

export const get = (path) => request("GET", path);
export const post = (path, body = {}) => request("POST", path, body);
export const remove = (path) => request("DELETE", path);
