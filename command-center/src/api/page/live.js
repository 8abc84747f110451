// Shows a device as it changes: each message of the server says that something has.
const live = document.getElementById("live");
new EventSource(live.dataset.source).onmessage = async () => {
  const answer = await fetch(location.href);
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("live");
  if (fresh.innerHTML !== live.innerHTML) live.replaceChildren(...fresh.childNodes);
};
