package web

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ctwarden/ctwarden/internal/testbrowser"
	"github.com/ctwarden/ctwarden/internal/testhost"
)

// noteScript has the page note when the number of refusing hosts was next shown, by the machine's one clock.
const noteScript = `window.seen = {}; new MutationObserver(() => requestAnimationFrame(() => {
	const n = document.querySelector('[data-key="critical"] b').textContent; seen[n] ??= Date.now(); }))
	.observe(document.querySelector('[data-key="critical"] b'), { childList: true, characterData: true, subtree: true })`

// BenchmarkPage measures what a reader waits for, with 100,000 hosts. One iteration is one opened page, one filter typed
// into it, and 30 updates of 2,000 hosts each, as in a storm of 10,000 hosts a second.
func BenchmarkPage(b *testing.B) {
	browser := testbrowser.Start(b)
	hub := newFakeHub()
	fillScene(hub, manyHosts, time.Now())
	s := serve(b, hub, Access{})
	var paint, shown, typing, busy []float64
	var lag []float64
	for b.Loop() {
		p := open(b, browser, desktop, s.url)
		p.shown()
		p.until(`document.getElementById("live").dataset.state === "live"`)
		paint = append(paint, eval[float64](p, `noted.paint`))
		shown = append(shown, eval[float64](p, `performance.getEntriesByName("fleet-shown")[0].startTime`))
		busy = append(busy, eval[float64](p, `Math.max(0, ...noted.long.map((l) => l[1]))`))
		p.do(`noted.long = []`)
		p.run(chromedp.SendKeys("#search", "site:gva rack=r12 >50% incident"))
		p.until(shownOf(hub.count(func(r Row) bool {
			return r.Site == "gva" && r.Labels[0] == "rack=r12" && 2*r.Count > r.Max && r.Severity != ""
		})))
		typing = append(typing, eval[float64](p, `Math.max(0, ...noted.long.map((l) => l[1]))`))
		lag = append(lag, storm(p, hub)...)
		p.run(chromedp.Navigate("about:blank"))
	}
	slices.Sort(lag)
	b.ReportMetric(slices.Max(paint), "first-paint-ms")
	b.ReportMetric(slices.Max(shown), "fleet-shown-ms")
	b.ReportMetric(slices.Max(busy), "longest-task-at-load-ms")
	b.ReportMetric(slices.Max(typing), "longest-task-typing-ms")
	b.ReportMetric(lag[len(lag)/2], "update-median-ms")
	b.ReportMetric(lag[len(lag)-1], "update-most-ms")
}

// storm changes 2,000 hosts at a time, and returns how long each time the page took to show it, in milliseconds.
func storm(p *tab, hub *fakeHub) (lag []float64) {
	p.do(noteScript)
	critical := hub.count(func(r Row) bool { return r.Severity == "critical" })
	for round := range 30 {
		rows := make([]Row, 2000)
		for i := range rows {
			rows[i] = hub.fleet.row((round*2000 + i*7) % manyHosts)
			rows[i].Count = (rows[i].Count + 911) % (rows[i].Max + 1)
		}
		for i := range rows {
			if rows[i].Severity == "" {
				rows[i].Severity = "critical"
				break
			}
		}
		critical++
		hub.fleet.put(rows...)
		at := time.Now().UnixMilli()
		shown := 0.0
		testhost.Eventually(p.t, "the update is shown", func() bool {
			shown = eval[float64](p, fmt.Sprintf(`seen[%q] ?? 0`, grouped(critical)))
			return shown > 0
		})
		lag = append(lag, shown-float64(at))
	}
	return lag
}
