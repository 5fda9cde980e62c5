package agent

import (
	"net"
	"sync"
)

// maxConnections is how many connections a listener of the agent's has open at a time: far more than operators and
// scrapers need, and few enough that their buffers are no matter.
const maxConnections = 64

// places are for connections that are open at a time; a full channel has no room.
type places chan struct{}

// take gives a connection a place until it is closed. One that there is no room for is closed at once: whoever it is
// finds it so, and there is nothing to lose. who is nil where nobody has looked.
func (p places) take(conn net.Conn, who *peer) (net.Conn, bool) {
	select {
	case p <- struct{}{}:
		return &boundedConn{Conn: conn, who: who, leave: sync.OnceFunc(func() { <-p })}, true
	default:
		_ = conn.Close()
		return nil, false
	}
}

// boundedListener closes what comes beyond a number of open connections at once, so that neither memory nor files run
// out, whoever connects. The server's time limits free those that do nothing.
type boundedListener struct {
	net.Listener
	room places
}

func bounded(l net.Listener, connections int) net.Listener {
	return &boundedListener{l, make(places, connections)}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if taken, ok := l.room.take(conn, nil); ok {
			return taken, nil
		}
	}
}

type boundedConn struct {
	net.Conn
	who   *peer // nil: nobody has looked yet
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
