package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testbrowser"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// mostBehind is how long after the stream has an event the page is to show it, at the median.
const mostBehind = 250 * time.Millisecond

// mostPause is how long the page may go without a change, at the median, while the hub works off what came at once.
const mostPause = time.Second

// turnsScript has the page note when its number of hosts that refuse connections changes.
const turnsScript = `(() => {
  window.turns = [];
  let last = "";
  const look = () => {
    requestAnimationFrame(look);
    const now = document.querySelector('[data-key="critical"] b').textContent;
    if (now !== last) { last = now; turns.push(Date.now()); }
  };
  look();
  return 1;
})()`

const (
	// cellSite is the first on the board. Every fifth of its hosts is a probe, and they fill no more than a row of small cells, so
	// that no sign lies upon another probe's cell.
	cellSite = "a-cells"
	apart    = 5
	// mostProbes is how many there may be.
	mostProbes = 34
	// spotsScript has the page note when the cell of a probe first has the colour of a host that refuses connections, and when
	// the list first has an incident of one, by the machine's one clock. It looks at the pixels before each picture, which are
	// those of the last one.
	spotsScript = `(async () => {
  const [{ state }, { lay, spot }, { parse, select }, { palette }] = await Promise.all(["state", "layout", "filter", "colours"].map((m) => import("/assets/js/" + m + ".js")));
  const box = document.querySelector(".grid-box"), canvas = box.querySelector("canvas");
  const one = new OffscreenCanvas(1, 1).getContext("2d");
  one.fillStyle = palette().critical;
  one.fillRect(0, 0, 1, 1);
  const wanted = new Uint32Array(one.getImageData(0, 0, 1, 1).data.buffer)[0];
  window.cells = {}; window.listed = {};
  let hosts = -1, layout = null, probes = [];
  const look = () => {
    requestAnimationFrame(look);
    const { fleet } = state;
    if (fleet.length !== hosts) {
      hosts = fleet.length;
      const places = select(fleet, parse(""));
      layout = lay(fleet, places, { width: box.clientWidth - 24, height: box.clientHeight, bySite: true });
      probes = [];
      places.forEach((p, cell) => { if (/^p-\d*[05]$/.test(fleet.hosts[p])) probes.push([fleet.hosts[p], spot(layout, cell)]); });
      return; // the next picture has this layout
    }
    const tall = Math.max(0, ...probes.map(([, at]) => at.y)) + layout.pitch;
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, tall).data.buffer);
    for (const [name, { x, y }] of probes) {
      if (cells[name]) continue;
      for (let dy = layout.pitch < 5 ? 0 : 2; dy < layout.pitch - 1; dy++) { // a sign of the row above may reach into the first two
        if (pixels.subarray((y + dy) * canvas.width + x, (y + dy) * canvas.width + x + layout.pitch - 1).includes(wanted)) cells[name] = Date.now();
      }
    }
    for (const what of document.querySelectorAll(".side .incident .what")) {
      const name = /^o-\d+(?= refuses)/.exec(what.textContent)?.[0];
      if (name) listed[name] ??= Date.now();
    }
  };
  look();
  return true;
})()`
)

// behind is how long the page took to show what the stream had acknowledged, sorted.
type behind struct{ cells, incidents []time.Duration }

func middle(all []time.Duration) time.Duration { return all[len(all)/2] }

func most(all []time.Duration) time.Duration { return all[len(all)-1] }

// hold fails the test where the page is further behind than that at the median.
func (b behind) hold(t *testing.T, bound time.Duration) {
	t.Helper()
	if middle(b.cells) > bound || middle(b.incidents) > bound {
		t.Errorf("cells are shown after %v, incidents after %v", b.cells, b.incidents)
	}
}

// watched is the page of a hub in a browser, and probes: hosts of which the test itself tells.
type watched struct {
	t      *testing.T
	r      *rig
	js     jetstream.JetStream
	page   context.Context
	probes int
	// sent counts the events.
	sent uint64
}

// watch opens the page of a fleet in which a number of hosts are probes.
func (r *rig) watch(t *testing.T, probes int) *watched {
	t.Helper()
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, r: r, js: js, probes: probes}
	for i := range apart * probes {
		w.send(hello(t, cellSite, fmt.Sprintf("p-%d", i)))
	}
	testhost.Eventually(t, "the hub knows the probes", func() bool { return r.metric(t, "ctwarden_hub_hosts") >= float64(apart*probes) })
	page, end := chromedp.NewContext(testbrowser.Start(t))
	t.Cleanup(end)
	page, endTime := context.WithTimeout(page, 2*patience)
	t.Cleanup(endTime)
	w.page = page
	w.load()
	return w
}

// load loads the page, again after the first time, and returns when it is live.
func (w *watched) load() {
	w.t.Helper()
	if err := chromedp.Do(w.page, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(w.r.page)); err != nil {
		w.t.Fatal(err)
	}
	testhost.Eventually(w.t, "the page is live", func() bool { return w.ask(`document.getElementById("live")?.dataset.state === "live" ? 1 : 0`) == 1 })
}

// pauses are how long the page went without a change since turnsScript began, while there was something to show, sorted.
func (w *watched) pauses() (all []time.Duration) {
	w.t.Helper()
	turns, err := chromedp.Run(w.page, chromedp.Evaluate[[]int64]("window.turns"))
	if err != nil || len(turns) < 3 {
		w.t.Fatalf("turns of the page: %v, %v", turns, err)
	}
	for n := 2; n < len(turns); n++ { // the first is how it began, the second the first change
		all = append(all, time.Duration(turns[n]-turns[n-1])*time.Millisecond)
	}
	slices.Sort(all)
	return all
}

// send has the stream store an event, and returns when it says so.
func (w *watched) send(ev notify.Outgoing) time.Time {
	w.t.Helper()
	if _, err := w.js.Publish(w.t.Context(), ev.Subject, ev.Body, jetstream.WithMsgID(ev.ID)); err != nil {
		w.t.Fatal(err)
	}
	w.sent++
	return time.Now()
}

// ask evaluates an expression in the page.
func (w *watched) ask(expression string) int {
	w.t.Helper()
	n, err := chromedp.Run(w.page, chromedp.Evaluate[int](expression))
	if err != nil {
		w.t.Fatalf("%s: %v", expression, err)
	}
	return n
}

// refusing is how many hosts the page says refuse connections, from 100,000 on in thousands.
func (w *watched) refusing() int {
	w.t.Helper()
	return w.ask(`Number(document.querySelector('[data-key="critical"] b').textContent.replaceAll(",", "").replace("k", "e3"))`)
}

// behind has one probe after the other refuse connections, and every second time a host of a site of its own too, and tells how
// far behind the page is for the cells of those and the incidents of these.
func (w *watched) behind(every time.Duration) behind {
	w.t.Helper()
	w.ask(spotsScript + `.then(() => 1), 1`)
	testhost.Eventually(w.t, "the page is watched", func() bool { return w.ask(`window.listed ? 1 : 0`) == 1 })
	cells, incidents := map[string]time.Time{}, map[string]time.Time{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range w.probes {
		<-tick.C
		name := fmt.Sprintf("p-%d", apart*i)
		cells[name] = w.send(opened(w.t, cellSite, name, "ev-"+name))
		if i%2 == 0 {
			name := fmt.Sprintf("o-%d", i)
			incidents[name] = w.send(opened(w.t, "zz-"+name, name, "ev-"+name))
		}
	}
	counts := func() (n, listed int) { return w.ask(`Object.keys(cells).length`), w.ask(`Object.keys(listed).length`) }
	if testhost.Await("the page shows all probes", func() bool {
		n, listed := counts()
		return n == len(cells) && listed == len(incidents)
	}) != nil {
		n, listed := counts()
		text, err := chromedp.Run(w.page, chromedp.Evaluate[string](`JSON.stringify(cells) + JSON.stringify(listed) + document.body.innerText`))
		w.t.Fatalf("the page shows %d of %d cells and %d of %d incidents: %.3000s, %v", n, len(cells), listed, len(incidents), text, err)
	}
	return behind{w.shown("cells", cells), w.shown("listed", incidents)}
}

// shown is how long after they were stored the page had shown what it noted.
func (w *watched) shown(noted string, sent map[string]time.Time) (all []time.Duration) {
	w.t.Helper()
	for name, at := range sent {
		ms, err := chromedp.Run(w.page, chromedp.Evaluate[int64](fmt.Sprintf("%s[%q]", noted, name)))
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, time.UnixMilli(ms).Sub(at))
	}
	slices.Sort(all)
	return all
}

// pageInStorm has a fleet of so many hosts in trouble within the time while the page is watched.
func (r *rig) pageInStorm(t *testing.T, hosts, probes int, within, every time.Duration) behind {
	t.Helper()
	w := r.watch(t, probes)
	f := r.fleet(t, "--hosts", fmt.Sprint(hosts), "--sites", "5", "--within", within.String(), "--for", within.String())
	await(t, "the storm has begun", 50*time.Millisecond, func() bool { return w.refusing() > hosts/50 })
	b := w.behind(every)
	if n := w.refusing(); n < hosts/20 {
		t.Errorf("%d of %d hosts refuse connections when the last probe is shown: the storm is over", n, hosts)
	}
	if got := f.report(t); got.Opened != hosts {
		t.Errorf("%d of %d hosts opened an incident", got.Opened, hosts)
	}
	return b
}

// hello is an event that makes a host known.
func hello(t *testing.T, site, host string) notify.Outgoing {
	t.Helper()
	ev, err := notify.Encode(notify.Identity{Host: host, Site: site, Version: "v1"}, remediate.Event{
		ID: "hello-" + host, Type: remediate.EventAgentStarted, Time: time.Now().UTC(), Data: remediate.AgentState{Version: "v1", Mode: remediate.ModeObserve},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestFigurePage has the page of a real hub open while 10,000 hosts are in trouble within ten seconds.
func TestFigurePage(t *testing.T) {
	const hosts = 10_000
	r := figures(t)
	r.startToFile(t)
	b := r.pageInStorm(t, hosts, mostProbes, 10*time.Second, 300*time.Millisecond)
	b.hold(t, mostBehind)
	r.hub.stop(t)
	figure(t, "the page in a storm of 10,000 hosts: a cell changes %d ms after the stream has the event at the median, %d ms at the most of %d; an incident is listed after %d and %d ms",
		middle(b.cells).Milliseconds(), most(b.cells).Milliseconds(), len(b.cells), middle(b.incidents).Milliseconds(), most(b.incidents).Milliseconds())
}

// TestPageInAStorm is the same in small: everything a process of its own but the NATS server. The bound is loose, since the
// machines that run tests do much else.
func TestPageInAStorm(t *testing.T) {
	url, nc := plainServer(t)
	r := newRig(t, url, nc)
	r.startToFile(t)
	b := r.pageInStorm(t, 1000, 24, 4*time.Second, 150*time.Millisecond)
	b.hold(t, 4*mostBehind)
	t.Logf("cells after %v and %v, incidents after %v and %v", middle(b.cells), most(b.cells), middle(b.incidents), most(b.incidents))
	r.hub.stop(t)
}
