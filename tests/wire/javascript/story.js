// What both stories need: messages that are waited for, and a last word.
"use strict";

function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Messages in the order they came; each is handed out once.
class Heard {
  #messages = [];
  #wake = () => {};

  add(message) {
    this.#messages.push(message);
    this.#wake();
  }

  // The next message that `fits`; what comes before it is passed over.
  next(fits) {
    return within(10, `message that fits ${fits}`, this.#find(fits));
  }

  async #find(fits) {
    for (;;) {
      while (this.#messages.length) {
        const message = this.#messages.shift();
        if (fits(message)) return message;
      }
      await new Promise((resolve) => { this.#wake = resolve; });
    }
  }
}

// Print `seen` and leave, whatever the streams still do.
function told(seen) {
  process.stdout.write(JSON.stringify(seen) + "\n", () => process.exit(0));
}

module.exports = { Heard, told, within };
