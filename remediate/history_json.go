package remediate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// savedEpisode is an episode in JSON.
type savedEpisode struct {
	Source     string    `json:"source"`
	Host       string    `json:"host,omitempty"`
	Inode      uint64    `json:"inode,omitempty"`
	BootID     string    `json:"boot_id,omitempty"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Count      int       `json:"count"`
	Suppressed int       `json:"suppressed,omitempty"`
}

// MarshalJSON encodes the episodes, so that records that were read and not yet published survive a restart. The times
// in [Past.Lead], and notices of suppressed messages that no match has followed yet, are not kept.
func (h *History) MarshalJSON() ([]byte, error) {
	saved := make([]savedEpisode, 0, h.episodes)
	for key, s := range h.streams {
		for inode, list := range s.episodes {
			for _, e := range list {
				saved = append(saved, savedEpisode{
					Source: key.source, Host: e.host, Inode: inode, BootID: e.bootID, First: e.first, Last: e.last,
					Count: e.count, Suppressed: e.suppressed,
				})
			}
		}
	}
	slices.SortFunc(saved, func(a, b savedEpisode) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Inode, b.Inode))
	})
	return json.Marshal(saved)
}

// UnmarshalJSON reads what MarshalJSON wrote. The history's closeAfter is to be set by the caller.
func (h *History) UnmarshalJSON(text []byte) error {
	var saved []savedEpisode
	if err := json.Unmarshal(text, &saved); err != nil {
		return fmt.Errorf("decode old records: %w", err)
	}
	*h = *NewHistory(0)
	for _, e := range saved {
		s := h.stream(streamKey{e.Source, HostLabel(e.Host)})
		s.last = &episode{
			host: e.Host, bootID: e.BootID, first: e.First, last: e.Last, count: e.Count, suppressed: e.Suppressed,
		}
		s.episodes[e.Inode] = append(s.episodes[e.Inode], s.last)
		h.episodes++
	}
	return nil
}
