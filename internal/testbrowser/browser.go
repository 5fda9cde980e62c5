// Package testbrowser starts a real browser for tests of the hub's page.
package testbrowser

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// Start starts a Chromium without windows, for the test.
func Start(t testing.TB) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		testhost.Skip(t, "needs Chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // its sandbox is not for root
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), opts...)
	browser, endBrowser := chromedp.NewContext(ctx)
	if err := chromedp.Do(browser); err != nil {
		end()
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(browser); err != nil {
			t.Logf("end the browser: %v", err)
		}
		endBrowser()
		end()
	})
	return browser
}
