package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// confined tells of a directory of the agent's that the unit keeps it from.
func (j *judge) confined() {
	f := j.f
	if !f.known() || f.Unit.File == "" {
		return
	}
	for _, own := range f.Dirs {
		bound := within(own.real, f.Unit.Bound)
		i := slices.IndexFunc(f.Unit.Covered, func(c Cover) bool {
			return within(own.real, []string{c.real}) && (c.sealed || !bound)
		})
		switch {
		case i >= 0:
			j.covered(own, f.Unit.Covered[i])
		case f.Unit.Confined && !bound && !within(own.real, f.Unit.Writable) && !within(own.real, apart):
			j.readOnly(own)
		}
	}
}

// apart are what ProtectSystem=strict leaves as it is.
var apart = []string{"/dev", "/proc", "/sys"}

// packaged are the directories that the packages' unit opens.
var packaged = map[string]string{"state_dir": "/var/lib/ctwarden", "runtime_dir": "/run/ctwarden"}

// covered tells of a directory that no ReadWritePaths= opens: systemd passes it over there, or does not start the service.
func (j *judge) covered(own Dir, by Cover) {
	j.add(Finding{
		ID: IDReadOnlyDir, Severity: Problem, Where: j.f.File,
		What: fmt.Sprintf("%s: %s is not the host's to the service: %s puts another directory over %s, whatever ReadWritePaths= names",
			own.Key, own.Path, by.Setting, by.Dir),
		Why: "what the agent keeps there is lost with its end, or it does not start",
		Fix: fmt.Sprintf("in %s write %s: %s, or another directory outside of %s, take out what ReadWritePaths= names below that, "+
			"then systemctl daemon-reload && systemctl restart ctwarden", j.f.File, own.Key, packaged[own.Key], by.Dir),
	})
}

func (j *judge) readOnly(own Dir) {
	j.add(Finding{
		ID: IDReadOnlyDir, Severity: Problem, Where: j.f.File,
		What: fmt.Sprintf("%s: %s is read-only to the service: ProtectSystem=strict, and no ReadWritePaths= names it", own.Key, own.Path),
		Why:  "what the agent keeps there is lost with its end, or it does not start",
		Fix: fmt.Sprintf("install -d -o ctwarden -g ctwarden -m 0700 %s && mkdir -p /etc/systemd/system/ctwarden.service.d && "+
			"printf '%%s\\n' '[Service]' %s >/etc/systemd/system/ctwarden.service.d/%s.conf && "+
			"systemctl daemon-reload && systemctl restart ctwarden", shellWord(own.Path), shellWord("ReadWritePaths="+unitWord(own.Path)), own.Key),
	})
}

// bare is what neither a shell nor systemd takes for anything else than it is.
var bare = regexp.MustCompile(`^[\w@+=:,./-]+$`)

// shellWord quotes a word for a shell where it has to be.
func shellWord(s string) string {
	if bare.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// unitWord quotes a word for a value in a unit where it has to be.
func unitWord(s string) string {
	if bare.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s) + `"`
}
