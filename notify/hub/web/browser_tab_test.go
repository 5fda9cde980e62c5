package web

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// tabWithin bounds all that a test does in one tab. The machines that run tests are slow at times.
const tabWithin = 2 * time.Minute

// screen is what a reader looks at.
type screen struct {
	width, height int64
	scale         float64
	dark, touch   bool
}

var (
	desktop = screen{width: 1440, height: 900, scale: 1}
	phone   = screen{width: 360, height: 740, scale: 2, touch: true}
)

// watchScript has a page note what a reader would be disturbed by.
const watchScript = `window.noted = { shifts: [], long: [], paint: 0 };
new PerformanceObserver((l) => l.getEntries().forEach((e) => e.hadRecentInput || noted.shifts.push(e.value + " " + e.sources.map((s) => (s.node?.outerHTML ?? s.node?.parentNode?.outerHTML ?? "").slice(0, 60)).join(","))))
  .observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((l) => l.getEntries().forEach((e) => noted.long.push([e.startTime, e.duration]))).observe({ type: "longtask", buffered: true });
new PerformanceObserver((l) => l.getEntries().forEach((e) => { noted.paint = e.startTime; })).observe({ type: "paint", buffered: true });`

// tab is one page of the browser.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu sync.Mutex
	// complaints are what stands in the console: errors, warnings of the policy, exceptions.
	complaints []string
}

// open opens a page.
func open(t testing.TB, browser context.Context, s screen, url string) *tab {
	t.Helper()
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, tabWithin)
	t.Cleanup(cancelTime)
	b.ctx = ctx
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	b.run(
		chromedp.EmulateViewport(s.width, s.height, chromedp.EmulateScale(s.scale)),
		command(emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: s.touch}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}),
		command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchScript}),
		chromedp.Navigate(url),
	)
	return b
}

// command is an action that has the browser carry out one command.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (b *tab) hear(event any) {
	said := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		said = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			said += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		for _, arg := range e.Args {
			said += string(arg.Value)
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			said = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if said != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, said)
		b.mu.Unlock()
	}
}

// quiet checks that the console is empty but for lines with one of the given parts.
func (b *tab) quiet(expected ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
next:
	for _, said := range b.complaints {
		for _, part := range expected {
			if strings.Contains(said, part) {
				continue next
			}
		}
		b.t.Errorf("in the console: %s", said)
	}
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// do carries out a statement in the page.
func (b *tab) do(statement string) {
	b.t.Helper()
	eval[int](b, "(() => { "+statement+"; return 0; })()")
}

// until waits for an expression to be true. The library's own waiting needs the page's policy to allow eval.
func (b *tab) until(expression string) {
	b.t.Helper()
	err := testhost.Await(expression, func() bool {
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && yes // while another page is loaded there is nothing to ask
	})
	if err != nil {
		b.t.Fatalf("%v; the page says %.900s; the filter %q, console %q", err, eval[string](b, `document.body.innerText`), eval[string](b, `document.getElementById("search")?.value ?? ""`), b.complaints)
	}
}

// shown waits for the fleet.
func (b *tab) shown() {
	b.t.Helper()
	b.until(`performance.getEntriesByName("fleet-shown").length > 0`)
}

// steady checks that nothing moved by itself since the page was opened.
func (b *tab) steady() {
	b.t.Helper()
	if shifts := eval[[]string](b, `noted.shifts`); len(shifts) > 0 {
		b.t.Errorf("the layout shifted: %q", shifts)
	}
}

// picture saves what is seen, where CTWARDEN_PICTURES names a folder.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("CTWARDEN_PICTURES")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
