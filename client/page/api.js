/** What the page asks of its server, `local/page`. */

const ask = async (method, path, body) => {
  let response, answer;
  try {
    response = await fetch(`/api/${path}`, {
      method,
      ...(body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    });
    answer = await response.json();
  } catch {
    throw new Error("The page's server does not answer: is make local still running?");
  }
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status });
  return answer;
};

export const configuration = () => ask("GET", "configuration");
export const inside = () => ask("GET", "inside");
export const publish = (entityId, message, count) =>
  ask("POST", "publish", { entityId, count, ...(message && { message }) });
export const publishPoison = () => ask("POST", "publish", { kind: "poison" });
export const redrive = () => ask("POST", "redrive", {});
export const token = async (wish) => (await ask("POST", "token", wish)).token;
export const push = (userId, message) => ask("POST", "users/push", { userId, message });
export const kick = (userId, revoke) => ask("POST", "users/disconnect", { userId, revoke });
export const trim = (entityId) => ask("POST", "trim", { entityId });
export const changeFaults = (faults) => ask("PATCH", "faults", faults);
export const act = (action, name, details) =>
  ask("POST", `connections/${action}`, { name, ...details });
