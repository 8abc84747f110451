/** The copy of the site that works without a network, and its updates. */

/**
 * Keeps a copy of the site. When a newer one is there, `onNewer` gets a function that changes to it and loads the page again;
 * otherwise it is used once every tab of the site is closed.
 */
export async function keepOffline(onNewer: (load: () => void) => void): Promise<void> {
  // Always the server's own file: an old one in a cache would keep the site old.
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  const offer = () => {
    const worker = registration.waiting;
    if (worker === null || registration.active === null) {
      return;
    }
    onNewer(() => {
      worker.addEventListener("statechange", () => worker.state === "activated" && location.reload());
      worker.postMessage("activate");
    });
  };
  offer();
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
}
