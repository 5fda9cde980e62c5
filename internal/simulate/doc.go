// Package simulate is a fleet of hosts in one process, for sizing a hub with its NATS servers.
//
// What is real: each host has a [remediate.Tracker], the agent's own code for incidents, and asks [remediate.Decide] for
// its steps; its events are encoded, named and sent to JetStream as an agent's are, wait where the server does not take
// them, and are sent again under the same id; its state goes to the fleet's bucket as often as an agent's. What is made up:
// the readings of its table, which are taken once a second, and the connections, of which many hosts share one unless as
// many are asked for as there are hosts. The kernel has no part in it.
//
// A fleet first says hello. Once that is acknowledged, the table of each host fills up at a moment of its own within the
// time that was asked for, refuses connections, is raised, becomes quiet, and its incident closes. At the end each host says
// goodbye, so that the hub does not miss it.
package simulate
