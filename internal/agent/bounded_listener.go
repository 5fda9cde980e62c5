package agent

import (
	"net"
	"sync"
)

// maxConnections is how many connections a listener of the agent's has open at a time: far more than operators and
// scrapers need, and few enough that their buffers are no matter.
const maxConnections = 64

// boundedListener closes what comes beyond a number of open connections at once, so that neither memory nor files run
// out, whoever connects. The server's time limits free those that do nothing.
type boundedListener struct {
	net.Listener
	room chan struct{} // one for each open connection; a full one means no room
}

func bounded(l net.Listener, connections int) net.Listener {
	return &boundedListener{l, make(chan struct{}, connections)}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			_ = conn.Close() // whoever it is finds it closed; there is nothing to lose
		}
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
