package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// shutdown is how long answers under way may take when the hub ends.
const shutdown = 3 * time.Second

// Serve answers on l until ctx is done, and runs h beside it; it returns nil then. It closes l.
func Serve(ctx context.Context, l net.Listener, h *Handler) error {
	srv := &http.Server{
		Handler: h, ErrorLog: zap.NewStdLog(h.cfg.Log), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error { return h.Run(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		if srv.Shutdown(end) != nil {
			return srv.Close() // whoever is left reads too slowly to be waited for
		}
		return nil
	})
	return g.Wait()
}
