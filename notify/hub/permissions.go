package hub

import "github.com/ctwarden/ctwarden/notify"

// InboxPrefix is where replies to a hub come in, so that its permissions need not cover the hosts' inboxes.
const InboxPrefix = "_INBOX.ctwarden-hub"

// Permissions are the subjects that a user of the NATS account needs, and no more.
type Permissions struct {
	Publish, Subscribe []string
	// NoPublish are exceptions from Publish.
	NoPublish []string
	// Respond is true where the user answers requests, on whatever subject they name.
	Respond bool
}

// HostPermissions are those of one agent: its own events, its own state, its own answers, and the orders that are for it.
// host is the token of its name ([notify.HostToken]). Both may be templates of a signing key.
func HostPermissions(site, host string) Permissions {
	return Permissions{
		Publish: []string{
			notify.SubjectPrefix + "." + site + "." + host + ".>",
			hostPrefix + site + "." + host,
			notify.AnswerPrefix + "." + site + "." + host,
		},
		Subscribe: []string{
			"_INBOX." + site + "." + host + ".>",
			notify.CommandToAll(),
			notify.CommandToSite(site),
			notify.CommandPrefix + ".host." + site + "." + host,
		},
	}
}

// HubPermissions are those of a hub. It cannot publish events or states, nor change streams.
func HubPermissions() Permissions {
	p := Permissions{
		Publish: []string{
			"$JS.API.STREAM.INFO." + notify.StreamName,
			"$JS.API.CONSUMER.INFO." + notify.StreamName + "." + Consumer,
			"$JS.API.CONSUMER.MSG.NEXT." + notify.StreamName + "." + Consumer,
			"$JS.ACK." + notify.StreamName + "." + Consumer + ".>",
			"$JS.API.DIRECT.GET.KV_" + notify.HostsBucket + ".>",
			"$JS.API.STREAM.PURGE.KV_" + FleetBucket,
			bucketPrefix + ">",
			notify.CommandPrefix + ".>",
			DoSubject,
		},
		Subscribe: []string{InboxPrefix + ".>", notify.AnswerPrefix + ".>", DoSubject},
		Respond:   true,
	}
	for _, stream := range []string{"KV_" + notify.HostsBucket, "KV_" + FleetBucket} {
		p.Publish = append(p.Publish, reading(stream)...)
	}
	return p
}

// OperatorPermissions are those of people's commands: they ask the hub, and read events and states.
func OperatorPermissions() Permissions {
	p := Permissions{
		Publish: []string{DoSubject}, Subscribe: []string{notify.OperatorInbox + ".>"},
		// The hubs' own consumer: whoever reads from it or removes it takes events away from them.
		NoPublish: []string{
			"$JS.API.CONSUMER.CREATE." + notify.StreamName + "." + Consumer,
			"$JS.API.CONSUMER.CREATE." + notify.StreamName + "." + Consumer + ".>",
			"$JS.API.CONSUMER.MSG.NEXT." + notify.StreamName + "." + Consumer,
			"$JS.API.CONSUMER.DELETE." + notify.StreamName + "." + Consumer,
		},
	}
	for _, stream := range []string{notify.StreamName, "KV_" + notify.HostsBucket} {
		p.Publish = append(p.Publish, reading(stream)...)
	}
	return p
}

// reading is what it takes to read a stream in order.
func reading(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".>",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".>",
		"$JS.API.CONSUMER.DELETE." + stream + ".>",
	}
}
