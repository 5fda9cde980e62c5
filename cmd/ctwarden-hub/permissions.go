package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// permissionForms are the ways in which a NATS server is told who may do what.
var permissionForms = []string{"config", "nkey", "jwt"}

// grant is a user of the NATS account, with what it may do.
type grant struct {
	user, about string
	hub.Permissions
}

// grants are the three roles. The host is the one given, or an example.
func grants(site, host string) []grant {
	token := notify.HostToken(host)
	return []grant{
		{site + "." + token, "the agent of host " + host + " at site " + site + "; one such entry for each host", hub.HostPermissions(site, token)},
		{"hub", "the hubs, which may share it", hub.HubPermissions()},
		{"operator", "people: ctwarden-hub hold, unhold, acknowledge and resolve, ctwarden events, ctwarden status --fleet", hub.OperatorPermissions()},
	}
}

// printPermissions writes the roles in one form.
func printPermissions(out io.Writer, form, site, host string) error {
	text := ""
	switch form {
	case "config":
		text = configUsers(grants(site, host))
	case "nkey":
		text = nkeyUsers(grants(site, host))
	case "jwt":
		text = signingKeys(site, host)
	}
	_, err := io.WriteString(out, text)
	return err
}

// configUsers is for the server's own file, with passwords.
func configUsers(all []grant) string {
	var b strings.Builder
	b.WriteString("# For the configuration file of the NATS server, in the account of ctwarden. Make a hash with: nats server passwd\nauthorization {\n  users: [\n")
	for _, g := range all {
		fmt.Fprintf(&b, "    # %s\n    { user: %q, password: \"HASH OF ITS PASSWORD\", permissions: {\n%s    } }\n", g.about, g.user, g.block("      "))
	}
	b.WriteString("  ]\n}\n# The agent or hub then has: nats: {servers: [\"nats://USER:PASSWORD@nats.example:4222\"]}, in a file that only it reads.\n")
	return b.String()
}

// nkeyUsers is for the server's own file, with keys.
func nkeyUsers(all []grant) string {
	var b strings.Builder
	b.WriteString("# For the configuration file of the NATS server, in the account of ctwarden. Make a key for each with:\n" +
		"#   nk -gen user > SEED; nk -inkey SEED -pubout\n# The seed is the file nats.credentials of the agent or hub, chmod 0640; the public key stands here.\n" +
		"authorization {\n  users: [\n")
	for _, g := range all {
		fmt.Fprintf(&b, "    # %s\n    { nkey: \"PUBLIC KEY OF %s\", permissions: {\n%s    } }\n", g.about, g.user, g.block("      "))
	}
	b.WriteString("  ]\n}\n")
	return b.String()
}

// block is the permissions as the server's file has them.
func (g grant) block(indent string) string {
	var b strings.Builder
	list := func(subjects []string) {
		for _, s := range subjects {
			fmt.Fprintf(&b, "%s  %q\n", indent, s)
		}
	}
	fmt.Fprintf(&b, "%spublish: { allow: [\n", indent)
	list(g.Publish)
	if len(g.NoPublish) > 0 {
		fmt.Fprintf(&b, "%s], deny: [\n", indent)
		list(g.NoPublish)
	}
	fmt.Fprintf(&b, "%s] }\n%ssubscribe: { allow: [\n", indent, indent)
	list(g.Subscribe)
	fmt.Fprintf(&b, "%s] }\n", indent)
	if g.Respond {
		fmt.Fprintf(&b, "%sallow_responses: true\n", indent)
	}
	return b.String()
}

// The parts of a user's JWT that a signing key's template takes for a host. Tags are always in small letters, so a name is
// taken whole where it may have others.
const (
	templateSite = "{{tag(site)}}"
	templateHost = "{{tag(host)}}"
)

// signingKeys is for servers in operator mode: one signing key a role, whose template gives each user its permissions.
func signingKeys(site, host string) string {
	var b strings.Builder
	b.WriteString("# For servers in operator mode, with nsc. The permissions belong to a signing key of the account: whatever user it signs\n" +
		"# has them, and no user can have more. {{tag(site)}} and {{tag(host)}} are the user's own tags. Tags are in small letters:\n" +
		"# a site or host with capitals needs a user with permissions of its own, as --permissions config prints them.\n")
	for _, role := range []struct {
		name string
		hub.Permissions
	}{
		{"host", hub.HostPermissions(templateSite, templateHost)}, {"hub", hub.HubPermissions()}, {"operator", hub.OperatorPermissions()},
	} {
		fmt.Fprintf(&b, "nsc edit signing-key --account CTWARDEN --role %s --sk generate \\\n", role.name)
		for _, s := range role.Publish {
			fmt.Fprintf(&b, "  --allow-pub '%s' \\\n", s)
		}
		for _, s := range role.NoPublish {
			fmt.Fprintf(&b, "  --deny-pub '%s' \\\n", s)
		}
		for _, s := range role.Subscribe {
			fmt.Fprintf(&b, "  --allow-sub '%s' \\\n", s)
		}
		if role.Respond {
			b.WriteString("  --allow-pub-response --response-ttl 2m \\\n")
		}
		b.WriteString("  --bearer=false\n")
	}
	b.WriteString("nsc push --all\n")
	token := notify.HostToken(host)
	for _, user := range []struct{ name, role, tags, file string }{
		{site + "." + token, "host", " --tag site:" + site + " --tag host:" + token, "nats.creds"},
		{"hub-1", "hub", "", "hub.creds"}, {"alice", "operator", "", "alice.creds"},
	} {
		fmt.Fprintf(&b, "nsc add user --account CTWARDEN --name %s -K %s%s\nnsc generate creds --account CTWARDEN --name %s > %s\n",
			user.name, user.role, user.tags, user.name, user.file)
	}
	return b.String()
}
