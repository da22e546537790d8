/** The few things that all parts of the page do to the document. */

export const byId = (id) => document.getElementById(id);

/** Make an element; text is always text, whatever it holds. */
export const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** Say something in a status line, also when it is the same again. */
export const say = (element, text, isProblem = false) => {
  element.classList.toggle("problem", isProblem);
  element.replaceChildren(text);
};

/** Return a function that has `draw` called at most once a frame, however often it is called. */
export const oncePerFrame = (draw) => {
  let isPlanned = false;
  return () => {
    if (isPlanned) return;
    isPlanned = true;
    requestAnimationFrame(() => {
      isPlanned = false;
      draw();
    });
  };
};

/** Set a text only where it differs, so that nothing that is selected or read is disturbed. */
export const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most)} …` : text);
