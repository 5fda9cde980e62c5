// Making and filling elements. Text is always set as text.

/** h makes an element: attributes as they are written in HTML, on* as listeners, children as text or elements. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== undefined && c !== null && c !== false));
  return element;
}

/** text sets an element's text where it differs, so that nothing is laid out or announced again for the same. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** keep fills an element anew where what it shows has changed, so that a button stays the same under the pointer. */
export function keep(element, shown, make) {
  const signature = JSON.stringify(shown);
  if (element.signature === signature) return;
  element.signature = signature;
  element.replaceChildren(...[make()].flat(Infinity).filter(Boolean));
}

/** sync has a list hold just these elements in this order, and touches none that is in its place. */
export function sync(list, elements) {
  elements.forEach((e, i) => {
    if (list.children[i] !== e) list.insertBefore(e, list.children[i] ?? null);
  });
  while (list.children.length > elements.length) list.lastChild.remove();
}

/** time is a moment as the reader's clock has it, with its age beside it that keeps up. */
export function time(at, age = true) {
  if (!at) return h("span", { class: "muted" }, "never");
  const element = h("time", { datetime: at, title: new Date(at).toLocaleString(), dataset: { at: String(Date.parse(at)) } });
  if (age) refresh(element);
  else {
    element.removeAttribute("data-at");
    element.textContent = clock(at);
  }
  return element;
}

let skew = 0; // how far the hub's clock is ahead of this one, in milliseconds

export function setSkew(ms) { skew = Math.abs(ms) > 2000 ? ms : 0; }
export function now() { return Date.now() + skew; }

function refresh(element) { text(element, ago(Number(element.dataset.at))); }

/** ago is how long since, in one unit. */
export function ago(ms) {
  const s = Math.round((now() - ms) / 1000);
  if (s < -5) return "in " + span(-s);
  return s < 5 ? "now" : span(s) + " ago";
}

/** span is a number of seconds as a person says it. */
export function span(s) {
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 90 * 60) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** clock is the time of day, with the date where it is another day's. */
export function clock(at) {
  const d = new Date(at);
  const day = d.toDateString() === new Date(now()).toDateString() ? "" :
    d.toLocaleDateString(undefined, { month: "short", day: "numeric" }) + " ";
  return day + d.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

setInterval(() => document.querySelectorAll("time[data-at]").forEach(refresh), 5000);

/** toast says shortly what became of something. */
export function toast(message, bad = false) {
  const element = document.getElementById("toast");
  element.textContent = message;
  element.hidden = false;
  element.classList.toggle("bad", bad);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.hidden = true; }, bad ? 8000 : 4000);
}
