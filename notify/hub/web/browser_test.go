package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testbrowser"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// manyHosts is the size of fleet that the page is tested with.
const manyHosts = 100_000

// TestPage looks at the page as a reader does, in a real browser.
func TestPage(t *testing.T) {
	browser := testbrowser.Start(t)
	hub := newFakeHub()
	fillScene(hub, manyHosts, time.Now())
	s := serve(t, hub, Access{Users: []User{mira(t)}})

	t.Run("the fleet is shown", func(t *testing.T) {
		b := open(t, browser, desktop, s.url)
		b.shown()
		b.until(`document.querySelector(".figure b").textContent === "100,000"`)
		b.until(`document.querySelectorAll(".side .incident").length === 3`)
		b.until(`document.getElementById("live").dataset.state === "live"`)
		if elements := eval[int](b, `document.querySelectorAll("*").length`); elements > 400 {
			t.Errorf("%d elements for %d hosts", elements, manyHosts)
		}
		if colours := eval[int](b, distinctColours); colours < 20 {
			t.Errorf("%d colours are in the grid", colours)
		}
		// Loosely: the figure on a quiet machine is BenchmarkPage's.
		if paint, fleet := eval[float64](b, `noted.paint`), eval[float64](b, `performance.getEntriesByName("fleet-shown")[0].startTime`); paint <= 0 || paint > 10_000 || fleet > 20_000 {
			t.Errorf("first paint after %v ms, the fleet after %v ms", paint, fleet)
		}
		b.picture("fleet-light")
		b.steady()
		b.quiet()
	})
	t.Run("in the dark", func(t *testing.T) {
		s0 := desktop
		s0.dark = true
		b := open(t, browser, s0, s.url)
		b.shown()
		b.until(`document.querySelectorAll(".side .incident").length === 3`)
		ground := `getComputedStyle(document.documentElement).backgroundColor`
		dark := eval[string](b, ground)
		b.picture("fleet-dark")
		b.run(chromedp.Click("#theme"))
		light := eval[string](b, ground)
		if dark == light {
			t.Errorf("the switch changed nothing: %s", dark)
		}
		b.run(chromedp.Reload())
		if kept := eval[string](b, ground); kept != light {
			t.Errorf("after a reload it is %s, chosen was %s", kept, light)
		}
		b.do(`localStorage.clear()`)
		b.quiet()
	})
	t.Run("on a phone", func(t *testing.T) {
		b := open(t, browser, phone, s.url)
		b.shown()
		b.until(`document.querySelectorAll(".side .incident").length === 3`)
		b.fits()
		b.picture("fleet-phone")
		for _, path := range []string{"/incidents", "/incident/g1", "/hub", hostPathOf(hub.fleet.row(0))} {
			b.run(chromedp.Navigate(s.url + path))
			b.until(`document.getElementById("live").dataset.state === "live"`)
			b.until(`document.querySelectorAll("h1").length === 1 && document.querySelectorAll("section").length > 1`)
			b.fits()
			b.picture("phone" + strings.ReplaceAll(path, "/", "-"))
		}
		b.quiet()
	})
	t.Run("updates arrive", func(t *testing.T) { testUpdates(t, open(t, browser, desktop, s.url), hub) })
	t.Run("filters", func(t *testing.T) { testFilter(t, open(t, browser, desktop, s.url), hub) })
	t.Run("keys", func(t *testing.T) { testKeys(t, open(t, browser, desktop, s.url), hub) })
	t.Run("a host", func(t *testing.T) { testHost(t, open(t, browser, desktop, s.url+hostPathOf(hub.fleet.row(3))), hub) })
	t.Run("other views", func(t *testing.T) {
		b := open(t, browser, desktop, s.url+"/hub")
		b.until(`document.body.innerText.includes("550 no such mailbox") && document.body.innerText.includes("switch replacement")`)
		b.picture("hub")
		b.run(chromedp.Click(`a[href="/incidents"]`))
		b.until(`document.querySelectorAll(".incident").length === 4`)
		b.picture("incidents")
		b.steady()
		b.quiet()
	})
	t.Run("a hub that is cut off says so", func(t *testing.T) {
		b := open(t, browser, desktop, s.url)
		b.shown()
		hub.set(func(s *Status) { s.Connected = false })
		b.until(`!document.getElementById("alarm").hidden && document.getElementById("alarm").innerText.includes("does not reach NATS")`)
		b.picture("alarm")
		hub.set(func(s *Status) { s.Connected, s.Leader = true, "" })
		b.until(`document.getElementById("alarm").innerText.includes("nobody is paged")`)
		hub.set(func(s *Status) { s.Leader = "hub-a" })
		b.until(`document.getElementById("alarm").hidden && document.title === "(3) Fleet · ctwarden"`)
		b.quiet()
	})
	t.Run("clicks count in a storm", func(t *testing.T) { testStorm(t, open(t, browser, desktop, s.url), hub) })
	t.Run("another site cannot act", func(t *testing.T) { testOtherSite(t, open(t, browser, desktop, s.url), s) })
	t.Run("acknowledge", func(t *testing.T) { testAcknowledge(t, open(t, browser, desktop, s.url), hub) })
}

// TestHeadKeepsItsPlaces: a browser on a slow machine shows the head before it has read all of it. What is there then does not
// move when the rest comes.
func TestHeadKeepsItsPlaces(t *testing.T) {
	browser := testbrowser.Start(t)
	s := serve(t, newFakeHub(), Access{Users: []User{mira(t)}})
	for name, size := range map[string]screen{"desktop": desktop, "phone": phone} {
		b := open(t, browser, size, s.url)
		b.until(`document.getElementById("live").dataset.state === "live"`)
		const places = `[...document.querySelectorAll(".top > *, .top > * > *")].map((e) => Math.round(e.getBoundingClientRect().left)).join(" ")`
		for eval[bool](b, `document.querySelectorAll(".tools > *").length > 1`) {
			before := eval[string](b, places)
			b.do(`document.querySelector(".tools").lastElementChild.remove()`)
			if after := eval[string](b, places); !strings.HasPrefix(before, after) {
				t.Errorf("%s: with its last element the head has its places at %s, without at %s", name, before, after)
			}
		}
	}
}

func hostPathOf(r Row) string { return "/host/" + r.Site + "/" + r.Host }

// distinctColours counts colours in the middle of the grid.
const distinctColours = `(() => { const c = document.querySelector(".grid-box canvas");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; const seen = new Set();
  for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return seen.size; })()`

// fits checks that the page is not wider than the screen.
func (b *tab) fits() {
	b.t.Helper()
	if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
		b.t.Errorf("%s is %d pixels wider than the screen", eval[string](b, `location.pathname`), over)
	}
}

func testUpdates(t *testing.T, b *tab, hub *fakeHub) {
	b.shown()
	b.until(`document.getElementById("live").dataset.state === "live"`)
	critical := `Number(document.querySelector('[data-key="critical"] b').textContent.replaceAll(",", ""))`
	before := eval[int](b, critical)
	for i := range 3 {
		r := hub.fleet.row(50_000 + i)
		r.Count, r.Severity = r.Max, "critical"
		hub.fleet.put(r)
		b.until(fmt.Sprintf(`%s === %d`, critical, before+i+1))
	}
	hub.fleet.put(Row{Site: "gva", Host: "new-1", Max: 65536, Count: 60000})
	b.until(`document.querySelector(".figure b").textContent === "100,001"`)
	hub.fleet.put(Row{Site: "gva", Host: "new-1", Gone: true})
	b.until(`document.querySelector(".figure b").textContent === "100,000"`)
	b.steady()
	b.quiet()
}

func testFilter(t *testing.T, b *tab, hub *fakeHub) {
	b.shown()
	b.until(`document.querySelector(".shown").textContent === "100,000 hosts"`)
	quick := eval[float64](b, `performance.now()`)
	for _, c := range []struct {
		typed string
		match func(Row) bool
	}{
		{"site:gva", func(r Row) bool { return r.Site == "gva" }},
		{"site:gva rack=r1* >50%", func(r Row) bool {
			return r.Site == "gva" && strings.HasPrefix(r.Labels[0], "rack=r1") && float64(r.Count) > 0.5*float64(r.Max)
		}},
		{"hv-0001", func(r Row) bool { return strings.Contains(r.Host, "hv-0001") }},
		{"incident -site:gva", func(r Row) bool { return r.Severity != "" && r.Site != "gva" }},
		{"silent", func(r Row) bool { return r.Silent }},
		{"held remediate", func(r Row) bool { return r.Held && r.Mode == "remediate" }},
	} {
		b.do(`document.getElementById("search").value = ""`)
		b.run(chromedp.SendKeys("#search", c.typed))
		b.until(shownOf(hub.count(c.match)))
		if c.typed == "site:gva" {
			b.picture("filter")
		}
	}
	// Loosely: the figure on a quiet machine is BenchmarkPage's.
	if long := eval[float64](b, fmt.Sprintf(`Math.max(0, ...noted.long.filter((l) => l[0] > %f).map((l) => l[1]))`, quick)); long > 1000 {
		t.Errorf("a task took %v ms while typing", long)
	}
	b.do(`document.getElementById("search").value = ""`)
	b.run(chromedp.SendKeys("#search", "nothing-is-named-so"))
	b.until(`document.getElementById("grid-info").textContent.includes("No host matches")`)
	b.until(`location.search === "?q=nothing-is-named-so"`)
	b.steady()
	b.quiet()
}

// shownOf is true when the filter has let n hosts through.
func shownOf(n int) string {
	return fmt.Sprintf(`document.querySelector(".shown").textContent === "%s of 100,000"`, grouped(n))
}

// count is how many hosts are like that.
func (h *fakeHub) count(like func(Row) bool) (n int) {
	h.fleet.mu.Lock()
	defer h.fleet.mu.Unlock()
	for _, r := range h.fleet.rows {
		if !r.Gone && like(r) {
			n++
		}
	}
	return n
}

// grouped is a number as the page writes it.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func testKeys(t *testing.T, b *tab, hub *fakeHub) {
	b.shown()
	b.run(chromedp.KeyEvent("/"))
	b.until(`document.activeElement.id === "search"`)
	// The browser is told of a character by itself, which a page cannot prevent as it can that of a real key.
	b.do(`document.getElementById("search").value = ""`)
	b.run(chromedp.KeyEvent("site:zrh"), chromedp.KeyEvent(kb.Escape), chromedp.Focus(".grid-box canvas"))
	b.until(shownOf(hub.count(func(r Row) bool { return r.Site == "zrh" })))
	place := `document.querySelector("#grid-info a")?.textContent ?? ""`
	b.run(chromedp.KeyEvent(kb.ArrowRight))
	first := eval[string](b, place)
	b.run(chromedp.KeyEvent(kb.ArrowRight))
	second := eval[string](b, place)
	b.run(chromedp.KeyEvent(kb.ArrowDown))
	below := eval[string](b, place)
	b.run(chromedp.KeyEvent(kb.ArrowUp))
	if back := eval[string](b, place); !strings.HasPrefix(first, "zrh / ") || first == second || below == second || back != second {
		t.Errorf("went over %q, %q, %q and back to %q", first, second, below, back)
	}
	b.run(chromedp.KeyEvent("t"))
	b.until(`!document.querySelector(".table-box").hidden && document.querySelectorAll(".table-box tbody tr").length === 200`)
	b.picture("table")
	b.run(chromedp.KeyEvent("?"))
	b.until(`document.querySelector("dialog[open]") !== null`)
	b.picture("help")
	b.run(chromedp.KeyEvent(kb.Escape))
	b.until(`document.querySelector("dialog") === null`)
	b.run(chromedp.KeyEvent("t"), chromedp.Focus(".grid-box canvas"), chromedp.KeyEvent(kb.End), chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname.startsWith("/host/zrh/")`)
	b.run(chromedp.KeyEvent("g"), chromedp.KeyEvent("i"))
	b.until(`location.pathname === "/incidents" && document.querySelectorAll(".incident").length > 0`)
	b.run(chromedp.NavigateBack())
	b.until(`location.pathname.startsWith("/host/zrh/")`)
	b.quiet()
}

func testHost(t *testing.T, b *tab, hub *fakeHub) {
	b.until(`document.querySelectorAll(".plot canvas").length === 2`)
	b.until(`document.body.innerText.includes("kube-proxy sets") && document.body.innerText.includes("203.0.113.77") && document.body.innerText.includes("permission denied")`)
	// The plot has the entries' and the limit's colour, so that it is more than its axes.
	b.until(`(() => { const c = document.querySelector(".plot canvas"); const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; let blue = 0, red = 0;
		for (let i = 0; i < d.length; i += 4) { if (d[i + 3] > 200 && d[i + 2] > d[i] + 60) blue++; if (d[i + 3] > 200 && d[i] > d[i + 2] + 60) red++; } return blue > 100 && red > 100; })()`)
	if label := eval[string](b, `document.querySelector(".plot").getAttribute("aria-label")`); !strings.HasPrefix(label, "Entries since ") {
		t.Errorf("the plot is described as %q", label)
	}
	b.picture("host")
	b.steady()
	b.quiet()
}

// testStorm clicks on what changes under the pointer all the time.
func testStorm(t *testing.T, b *tab, hub *fakeHub) {
	b.until(`document.querySelectorAll(".side .incident").length === 3`)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	defer func() { cancel(); _ = g.Wait() }() // it returns no error
	g.Go(func() error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			r := hub.fleet.row(n)
			r.Refused++
			hub.fleet.put(r)
			_ = hub.incidents.change("g1", func(g *fleet.Group) { g.Drops++; g.ChangedAt = time.Now() }) // it is there
		}
	})
	before := eval[string](b, `document.querySelector('.incident[data-id="g1"] .facts').textContent`)
	b.until(fmt.Sprintf(`document.querySelector('.incident[data-id="g1"] .facts').textContent !== %q`, before))
	b.run(chromedp.Click(`.incident[data-id="g1"]`))
	b.until(`location.pathname === "/incident/g1" && document.getElementById("acknowledge") !== null`)
	b.run(chromedp.Click("#acknowledge"))
	b.until(`document.querySelector("dialog[open] input[name=user]") !== null`)
	b.quiet()
}

// testOtherSite has a page of another origin, in the same browser, try what the logged-in user may.
func testOtherSite(t *testing.T, b *tab, s *site) {
	b.shown()
	b.do(fmt.Sprintf(`fetch("/api/v1/session", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({user: "mira", password: %q})}).then((r) => { window.code = r.status; })`, mirasPassword))
	b.until(`window.code === 200`)
	before := len(s.hub.actions())
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form id=f method=post enctype=text/plain action=%q><input name='{"all":true,"why":"' value='"}'></form><script>
			const to = %q; const done = []; window.done = done;
			const all = [["cors", "application/json"], ["no-cors", "text/plain"]].map(([mode, type]) =>
				fetch(to, {method: "POST", mode, credentials: "include", headers: {"Content-Type": type}, body: '{"all":true}'}).then((r) => done.push(r.status), () => done.push("refused")));
			Promise.all(all).then(() => { window.tried = true; });</script>`, s.url+"/api/v1/hold", s.url+"/api/v1/hold")
	}))
	defer evil.Close()
	b.run(chromedp.Navigate(strings.Replace(evil.URL, "127.0.0.1", "localhost", 1)))
	b.until(`window.tried === true`)
	b.do(`document.getElementById("f").submit()`)
	b.until(`location.pathname === "/api/v1/hold"`)
	b.until(`document.body.innerText.includes("another site")`)
	if n := len(s.hub.actions()) - before; n != 0 {
		t.Errorf("another site's page had %d things done", n)
	}
	b.run(chromedp.Navigate(s.url))
	b.do(`fetch("/api/v1/session", {method: "DELETE"}).then(() => { window.out = true; })`)
	b.until(`window.out === true`)
}

func testAcknowledge(t *testing.T, b *tab, hub *fakeHub) {
	b.until(`document.querySelectorAll(".side .incident").length === 3`)
	b.run(chromedp.Click(`.incident[data-id="g2"]`))
	b.until(`location.pathname === "/incident/g2" && document.querySelector("h1").textContent.includes("k8s-34410")`)
	b.do(`location.hash = "#/incident/g1"`) // as a page to on-call links to it
	b.until(`location.pathname === "/incident/g1" && document.getElementById("acknowledge") !== null`)
	b.picture("incident")
	b.run(chromedp.Click("#acknowledge"))
	b.until(`document.querySelector("dialog[open] input[name=user]") !== null`)
	b.run(chromedp.SendKeys("dialog input[name=user]", "mira"), chromedp.SendKeys("dialog input[name=password]", "wrong\r"))
	b.until(`document.querySelector("dialog .problem").textContent === "wrong user or password"`)
	b.picture("login")
	b.do(`document.querySelector("dialog input[name=password]").value = ""`)
	b.run(chromedp.SendKeys("dialog input[name=password]", mirasPassword+"\r"))
	b.until(`document.body.innerText.includes("acknowledged by mira") && document.getElementById("acknowledge") === null`)
	testhost.Eventually(t, "the hub is asked in mira's name", func() bool {
		asked := hub.actions()
		return len(asked) == 1 && asked[0].Verb == VerbAcknowledge && asked[0].By == "mira" && asked[0].Incident == "g1"
	})
	b.until(`document.getElementById("user").textContent === "mira"`)
	b.run(chromedp.Click("#user"))
	b.until(`document.getElementById("user").textContent === "Log in"`)
	b.quiet("401") // the browser itself notes the wrong password
}
