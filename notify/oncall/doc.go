// Package oncall tells people: it takes one notification to one sender, and stays with it until it is through.
//
// A [Notification] is what is known of one trouble when a person is to hear of it. Whoever decides that (the hub for a
// fleet, the agent for its own host) hands it to the [Queue] of a sender; [FromIncident] makes one from an incident of one
// host. The queue keeps the order of each trouble, tries again, and says once what became of each notification. A [Sender]
// knows one protocol and nothing of queues:
//
//	Notification ── Queue ──┬── Alertmanager API v2
//	                        ├── PagerDuty Events API v2
//	                        ├── Slack incoming webhook
//	                        ├── webhook after Standard Webhooks
//	                        └── e-mail over SMTP
//
// # What arrives once and what may arrive twice
//
// A notification's ID is the same over every attempt, and its Key the same from the first page of a trouble to its end.
// One whose outcome was not saved before a crash is sent again under both. PagerDuty and Alertmanager know the trouble by
// its key, and a receiver of webhooks knows the message by its webhook-id; Slack shows such a message twice, and in e-mail
// it has the same Message-ID, which some mailboxes show once and some twice.
//
// # Secrets
//
// Every secret is in a file of its own, named by path or as a systemd credential, and is read anew for each attempt: it can
// be replaced at any time, and what is waiting goes out with the new one. A file that every user may read is refused.
package oncall
