package oncall

import "time"

// Result is what became of a notification.
type Result string

// The results.
const (
	ResultDelivered Result = "delivered" // the other end took it
	ResultDead      Result = "dead"      // refused for good, or given up after a day
	ResultReplaced  Result = "replaced"  // never sent: a later one of the same trouble says more
)

// Outcome is told once for each notification that a queue took, unless the queue ends before.
type Outcome struct {
	ID     string    `json:"id"`
	Key    string    `json:"key"`
	Sender string    `json:"sender"`
	Result Result    `json:"result"`
	At     time.Time `json:"at"`
	// Attempts is how often it was sent; 0: never.
	Attempts int `json:"attempts"`
	// Err is why it is dead, or whom a delivered one missed.
	Err string `json:"err,omitempty"`
}

// Status is how a queue is.
type Status struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Waiting is how many notifications are to be sent, Oldest when the first of them was handed in.
	Waiting int       `json:"waiting"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// Open is how many troubles are told again and again, Refused how many of what is told again is refused, each alone.
	Open    int `json:"open"`
	Refused int `json:"refused,omitempty"`
	// Delivered, Replaced and Dead count outcomes, Retries attempts that failed and may succeed later, and Repeated what
	// was told again; all since the start.
	Delivered uint64 `json:"delivered"`
	Replaced  uint64 `json:"replaced"`
	Dead      uint64 `json:"dead"`
	Retries   uint64 `json:"retries"`
	Repeated  uint64 `json:"repeated"`
	// LastDelivered is when something last got through; zero: never.
	LastDelivered time.Time `json:"last_delivered,omitzero"`
	// Problem is why the last attempt failed or whom it missed, or that something is Refused, Since when that is so; empty:
	// all is well. NextTry is the earliest time of the next attempt.
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	NextTry time.Time `json:"next_try,omitzero"`
}
