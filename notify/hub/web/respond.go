package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// Bodies: what is read, and from what size on answers are packed.
const (
	maxBody  = 16 << 10
	packFrom = 1 << 10
)

// apiError is the body of every refusal.
type apiError struct {
	Error string `json:"error"`
}

// pack compresses at the speed of the network rather than to the last byte.
func pack(plain []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is one of the package's own
	_, _ = w.Write(plain)                           // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// acceptsGzip is true where the reader takes gzip; one that gives it the quality 0 does not.
func acceptsGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for offer := range strings.SplitSeq(header, ",") {
			coding, params, _ := strings.Cut(strings.TrimSpace(offer), ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				q, err := strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(params, " ", ""), "q="), 64)
				return params == "" || err == nil && q > 0
			}
		}
	}
	return false
}

// sendEither writes the packed form to whom takes it.
func sendEither(w http.ResponseWriter, r *http.Request, plain, packed []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if packed != nil && acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		plain = packed
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(plain)))
	_, _ = w.Write(plain) // a reader that has gone gets nothing
}

// sendJSON writes v with status code 200.
func (h *Handler) sendJSON(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		h.cfg.Log.Error("answer_not_encoded", zap.String("path", r.URL.Path), zap.Error(err))
		refuse(w, http.StatusInternalServerError, "the answer could not be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	var packed []byte
	if len(body) >= packFrom {
		packed = pack(body)
	}
	sendEither(w, r, body, packed)
}

// refuse answers with an error that says what is wrong and, where there is one, what to do.
func refuse(w http.ResponseWriter, code int, text string) {
	body, _ := json.Marshal(apiError{text}) // a string always can be
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// refuseFor answers with what an error of the hub means.
func (h *Handler) refuseFor(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case r.Context().Err() != nil: // whoever asked has gone
	case errors.Is(err, ErrNotFound), errors.Is(err, fleet.ErrUnknown):
		refuse(w, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrConflict), errors.Is(err, fleet.ErrOver):
		refuse(w, http.StatusConflict, err.Error())
	case errors.Is(err, ErrInvalid):
		refuse(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrNoLeader), errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, err.Error())
	default:
		h.cfg.Log.Warn("request_failed", zap.String("path", r.URL.Path), zap.Error(err))
		refuse(w, http.StatusBadGateway, err.Error())
	}
}

// readJSON reads the body into v, and refuses and returns false where it is not that. Only JSON is taken: a form of another
// site cannot send it without asking first.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "send the body as application/json")
		return false
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return true
		}
		err = errors.New("there is more than one document")
	}
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is longer than 16 KiB")
		return false
	}
	refuse(w, http.StatusBadRequest, "the body is not what is expected: "+err.Error())
	return false
}
