package agent

import (
	"testing/synctest"
	"time"
)

// elapse lets the time of a synctest bubble pass, and what is due in it happen. Outside of a bubble it panics: no test here
// waits for a real clock.
func elapse(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}
