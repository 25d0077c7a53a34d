// Elements from plain values. Text is only ever set as text, so a guest's name cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("a.link", {href: "#/"}, "text", other elements). `on` has listeners, `vars` custom properties. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return dress(document.createElement(name || "div"), classes, attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return dress(document.createElementNS(SVG, name), classes, attributes, children);
}

function dress(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listen] of Object.entries(value)) element.addEventListener(event, listen);
    else if (name === "vars") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

/** Put `children` in the place of what `parent` has. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return parent;
}

/** Set text only where it differs: an unchanged text costs no layout, and is not read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute only where it differs. */
export function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Make the children of `parent` those of `items`, in their order, each kept by its key.
 * `make(item)` returns {element, update(item)}; entries live in `known`, a Map.
 */
export function keep(parent, known, items, key, make) {
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    wanted.add(id);
    let entry = known.get(id);
    if (!entry) known.set(id, (entry = make(item)));
    entry.update(item);
    if (entry.element === place) place = place.nextSibling;
    else parent.insertBefore(entry.element, place);
  }
  for (const [id, entry] of known) {
    if (wanted.has(id)) continue;
    entry.element.remove();
    known.delete(id);
  }
}
