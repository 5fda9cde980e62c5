// Package fleet decides what the fleet's events mean to people: which of them are one trouble, who is to hear of it, when.
//
// It is the pure core of the hub: no I/O, no clock, no goroutine. The engine feeds it events and host states with the time,
// saves what became dirty, and hands out the pages that are due:
//
//	Take, Seen, Tick ── Fleet ──┬── Dirty, Encode ── saved, then Saved
//	                            └── Due ── sent after the save, then Delivered
//
// # What is saved, and in which order
//
// Two kinds of keys hold it all. A shard has the hosts of one hash value with their incidents, and each incident says which
// group it belongs to. A group has what cannot be told from its members: its pages, what became of them, its timeline, who
// acknowledged it. Everything else of a group (how many hosts, what was refused, who fills the tables) is summed up from
// the members when it is loaded, so the two can never disagree.
//
// [Fleet.Dirty] lists shards first. A crash in the midst of a save therefore leaves groups that know less than their
// members, never the other way round, and such a group is made again from its members under the same ID. No page of it can
// have gone out, since pages go out only after the whole save; and as a page's ID is made of the group's ID and a number,
// it is decided again under the same one. The events come again too, as they were not acknowledged. Folding one twice
// changes nothing: an incident and a step are known by their IDs, later states of an incident win over earlier ones, and a
// closed one stays closed.
//
// # Grouping
//
// An incident joins the open group of its cause and its values of group_by, if there is one that still has open incidents
// or took its last one within the group window and is quiet for less than the group wait; else it begins one. What fills up
// is another cause than what refuses connections, so that the end of the refusals is told, and only those hosts are counted;
// an incident goes on from the one group to the other. The same top address on several hosts is one attack:
// its incidents move into a group of that address, as long as nobody was told of the group that they were in. A group that
// somebody was told of stays what it is and refers to the other. A private address is another one at each site.
//
// # What wakes somebody
//
// An update wakes nobody: PagerDuty books a second trigger of a key with the first and rings for neither it nor anything
// that is acknowledged, and Alertmanager tells again of an alert only when its repeat_interval has passed. So what must wake
// somebody goes out as a first page under a key of its own:
//
//   - A host that begins to refuse connections a group window after the last one of its group did, or in a group that
//     somebody acknowledged, makes another group, which follows the first. PagerDuty's grouping by time does the same. A
//     sender is told of it no earlier than UpdateEvery after the last such page.
//   - So does one that did so before in the same group, if that was over for UpdateEvery: what stays open, as on a host that
//     died, hides nothing. A group all of whose hosts were in such trouble within the last hour is told of ever more rarely,
//     unless it lasts.
//   - An attack's group that turns critical, or one that has ten times as many hosts as when somebody was woken last, at
//     least UpdateEvery ago, is told anew: its older key ends with the word that it goes on. Growth tells the next stage of
//     escalation instead where there is one and nobody has acknowledged the group.
//
// A first page that was given up told nobody. It is made again with the next update, and the next stage of its route is
// told at once where nobody before could be.
package fleet
