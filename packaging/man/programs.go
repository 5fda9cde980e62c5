package main

// edition is what stands at the foot of each page.
type edition struct{ version, date string }

// entry is a name with what it means: a command, an option or a file.
type entry struct{ name, text string }

// program is what a program does not say of itself.
type program struct {
	name    string
	summary string // as the root command's Short; --help does not print it
	files   []entry
	seeAlso []string // "page(section)"
	config  configAbout
}

// configAbout is what a configuration file does not say of itself.
type configAbout struct {
	page    string // without the section
	path    string
	example string
	files   []entry
}

// programs are those that have manual pages, by name.
var programs = map[string]program{
	"ctwarden": {
		name:    "ctwarden",
		summary: "Keeps a Linux host from refusing connections because its connection-tracking table is full",
		files: []entry{
			{"/etc/ctwarden/ctwarden.yaml", "the configuration, see ctwarden.yaml(5)"},
			{"/var/lib/ctwarden", "what outlasts a reboot: positions, incidents, the outbox, the hold"},
			{"/run/ctwarden", "the control socket, and the record of a step under way"},
			{"/etc/sysctl.d/99-zz-ctwarden.conf", "the limit, once a step has helped; it stays when the package is removed"},
			{"/usr/share/ctwarden/ctwarden.service.d", "drop-ins that grant what mode remediate needs, and what seeing every namespace needs"},
		},
		seeAlso: []string{"ctwarden-hub(1)", "sysctl.d(5)", "systemd(1)"},
		config: configAbout{
			page: "ctwarden.yaml", path: "/etc/ctwarden/ctwarden.yaml",
			example: `mode: remediate
remediate:
  ceiling: 524288
  memory_share: 0.05
nats:
  servers: [tls://nats.example:4222]
  credentials: nats.creds   # LoadCredential=nats.creds:/etc/ctwarden/nats.creds
`,
			files: []entry{{"/usr/share/ctwarden/ctwarden.service.d/remediate.conf", "the drop-in for the service that mode remediate needs"}},
		},
	},
	"ctwarden-hub": {
		name:    "ctwarden-hub",
		summary: "Makes one picture of a fleet of ctwarden agents, and pages on-call",
		files: []entry{
			{"/etc/ctwarden/hub.yaml", "the configuration, see ctwarden-hub.yaml(5)"},
			{"/var/lib/ctwarden-hub", "what the hub keeps"},
		},
		seeAlso: []string{"ctwarden(1)"},
		config: configAbout{
			page: "ctwarden-hub.yaml", path: "/etc/ctwarden/hub.yaml",
			example: `nats:
  servers: [tls://nats-1.example:4222, tls://nats-2.example:4222]
  credentials: hub.creds   # LoadCredential=hub.creds:/etc/ctwarden/hub.creds
`,
		},
	},
}
