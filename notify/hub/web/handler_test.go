package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHeadersEverywhere: no answer lacks what keeps a browser from harm, whatever its code.
func TestHeadersEverywhere(t *testing.T) {
	hub := newFakeHub()
	fillScene(hub, 20, time.Now())
	r := serve(t, hub, Access{}).reader(t)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/", 200}, {"GET", "/host/gva/x", 200}, {"GET", "/assets/app.css", 200}, {"GET", "/assets/none", 404}, {"GET", "/none", 404},
		{"GET", "/assets/../handler.go", 404}, {"GET", "/assets/", 404}, {"GET", "/api/v1/none", 404}, {"PUT", "/api/v1/fleet", 404}, {"POST", "/", 405},
		{"GET", "/api/v1/hosts", 200}, {"GET", "/api/v1/hosts/gva/none", 404}, {"GET", "/api/v1/incidents/none", 404}, {"GET", "/metrics", 200},
		{"GET", "/healthz", 200}, {"POST", "/api/v1/hold", 403},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := r.send(c.method, c.path, nil)
			if a.code != c.code {
				t.Errorf("got %d %.200s, want %d", a.code, a.body, c.code)
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestAssets: the page's files are sent once and packed, and name nothing that is not ours.
func TestAssets(t *testing.T) {
	s := serve(t, newFakeHub(), Access{})
	for name, file := range s.files {
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		if bytes.Contains(file.plain, []byte("https://")) || bytes.Contains(bytes.ReplaceAll(file.plain, []byte("http://www.w3.org/2000/svg"), nil), []byte("http://")) {
			t.Errorf("%s names another site", name)
		}
	}
	r := s.reader(t)
	first := r.get("/assets/js/main.js")
	tag := first.header.Get("ETag")
	if tag == "" || first.header.Get("Content-Type") != "text/javascript; charset=utf-8" || first.header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("got %v", first.header)
	}
	for _, c := range []struct {
		name, match string
		code        int
	}{
		{"the same", tag, 304}, {"weak, among others", `"x", W/` + tag, 304}, {"another", `"x"`, 200}, {"none", "", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.reader(t)
			r.header.Set("If-None-Match", c.match)
			if a := r.get("/assets/js/main.js"); a.code != c.code || (len(a.body) == 0) != (c.code == 304) {
				t.Errorf("got %d with %d bytes, want %d", a.code, len(a.body), c.code)
			}
		})
	}
	r.header.Set("Accept-Encoding", "br, gzip;q=0.5")
	packed := r.get("/assets/js/main.js")
	z, err := gzip.NewReader(bytes.NewReader(packed.body))
	if err != nil || packed.header.Get("Content-Encoding") != "gzip" || packed.header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("%v, %v", err, packed.header)
	}
	if plain, err := io.ReadAll(z); err != nil || !bytes.Equal(plain, first.body) || len(packed.body) >= len(plain) {
		t.Errorf("%v, %d bytes packed, %d plain", err, len(packed.body), len(plain))
	}
	r.header.Set("Accept-Encoding", "gzip;q=0")
	if a := r.get("/assets/js/main.js"); a.header.Get("Content-Encoding") != "" {
		t.Errorf("packed for one who refuses it")
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name              string
		connected, loaded bool
		deaf              string
		code              int
		want              string
	}{
		{"ready", true, true, "", 200, "ok"}, {"not connected", false, true, "", 503, "NATS is not reached"},
		{"not loaded", true, false, "", 503, "not read yet"}, {"deaf", true, true, "no bucket; run init", 503, "no bucket; run init"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := newFakeHub()
			hub.set(func(s *Status) { s.Connected, s.Loaded, s.Deaf = c.connected, c.loaded, c.deaf })
			serve(t, hub, Access{}).reader(t).get("/healthz").want(t, c.code, c.want)
		})
	}
}

func TestHostList(t *testing.T) {
	hub := newFakeHub()
	hub.fleet.put(
		Row{Site: "ams", Host: "GW-1", Count: 9, Max: 10, Labels: []string{"rack=r1", "role=gw"}, Severity: "critical"},
		Row{Site: "gva", Host: "hv-2", Count: 5, Max: 10, Silent: true}, Row{Site: "gva", Host: "hv-10", Count: 8, Max: 10, Held: true},
		Row{Site: "gva", Host: "hv-3", Stopped: true, Severity: "warning"}, Row{Site: "gva", Host: "gone", Gone: true},
	)
	r := serve(t, hub, Access{}).reader(t)
	for _, c := range []struct{ query, want string }{
		{"", "GW-1 hv-2 hv-3 hv-10"}, {"site=gva", "hv-2 hv-3 hv-10"}, {"site=g", ""}, {"host=gw", "GW-1"}, {"host=hv-1", "hv-10"}, {"label=rack%3Dr1", "GW-1"},
		{"label=rack", ""}, {"min_fill=0.8", "GW-1 hv-10"}, {"min_fill=0", "GW-1 hv-2 hv-3 hv-10"}, {"state=silent", "hv-2"}, {"state=stopped", "hv-3"},
		{"state=incident", "GW-1 hv-3"}, {"state=critical", "GW-1"}, {"state=warning", "hv-3"}, {"state=held", "hv-10"}, {"site=gva&min_fill=.5&host=HV", "hv-2 hv-10"},
	} {
		t.Run(c.query, func(t *testing.T) {
			list := into[hostList](t, r.get("/api/v1/hosts?"+c.query).want(t, http.StatusOK, ""))
			var got []string
			for _, h := range list.Hosts {
				got = append(got, h.Host)
			}
			if strings.Join(got, " ") != c.want || list.Total != len(got) {
				t.Errorf("got %q of %d, want %q", got, list.Total, c.want)
			}
		})
	}
	if list := into[hostList](t, r.get("/api/v1/hosts?limit=2")); len(list.Hosts) != 2 || list.Total != 4 {
		t.Errorf("got %d of %d", len(list.Hosts), list.Total)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "state=well", "min_fill=1.5", "min_fill=NaN", "min_fill=x"} {
		r.get("/api/v1/hosts?"+query).want(t, http.StatusBadRequest, strings.Split(query, "=")[0]+": ")
	}
}

func TestIncidentsByImportance(t *testing.T) {
	hub := newFakeHub()
	now := time.Now()
	groups := sceneGroups(now)
	old, merged := groups[3], groups[0]
	old.ID, old.ClosedAt, old.Historical = "g5", time.Time{}, true
	merged.ID, merged.MergedInto = "g6", "g1"
	hub.incidents.put(append(groups, old, merged)...)
	list := into[incidentList](t, serve(t, hub, Access{}).reader(t).get("/api/v1/incidents"))
	var got []string
	for _, g := range list.Incidents {
		got = append(got, g.ID)
		if len(g.Timeline) != 0 {
			t.Errorf("%s has its timeline", g.ID)
		}
	}
	if strings.Join(got, " ") != "g1 g3 g2 g4 g5" || list.Open != 3 || list.Total != 5 {
		t.Errorf("got %q, %d of %d open", got, list.Open, list.Total)
	}
}
