package oncall

import "time"

// TestPage is a notification that says that it is a test: for who sets on-call up and wants to see a page arrive. id is
// new for each test. Its severity is critical, so that it takes the way of a real page.
//
// What PagerDuty or Alertmanager opens for it is closed by [Notification.Resolved].
func TestPage(id, name string, at time.Time) Notification {
	return Notification{
		ID: id, Key: id, Action: ActionTrigger, Severity: "critical", Title: "a page for " + name + ", asked for to see that it arrives",
		At: at, Since: at, Cause: "test", Verified: true, Test: true,
		Did:  []string{"sent this page because somebody asked for it"},
		Next: []string{"nothing: whoever asked waits to hear that this has arrived"},
	}
}

// Resolved is the notification of the end of the same trouble.
func (n Notification) Resolved(id string, at time.Time) Notification {
	n.ID, n.Action, n.At, n.Until = id, ActionResolve, at, at
	return n
}
