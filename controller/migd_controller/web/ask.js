// Questions to the API. A refusal comes as an Error with the controller's own words.

export class Problem extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

let onRefused = () => {};

/** Call `listen` whenever the controller does not know who asks. */
export const whenRefused = (listen) => (onRefused = listen);

/** Return the decoded answer. Throws a Problem, also where there is no answer. */
export async function ask(method, path, body, { signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The controller does not answer; what you see may be old.");
  }
  if (answer.ok) return answer.json();
  let problem = { code: `HTTP${answer.status}`, text: answer.statusText };
  try {
    problem = await answer.json();
  } catch {
    // not from migd: a proxy, perhaps
  }
  if (answer.status === 401 && path !== "/v1/session") onRefused(problem.text);
  throw new Problem(answer.status, problem.code, problem.text);
}

export const get = (path, options) => ask("GET", path, undefined, options);
