// Before the first paint: the theme that was chosen here, and the fleet is asked for while the modules are still loaded. It
// is no module, since those run after it.
(function () {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* no storage: as the system has it */ }
  window.fleetAsked = fetch("/api/v1/fleet", { cache: "no-store" });
  window.fleetAsked.catch(() => { /* who waits for it is told */ });
})();
