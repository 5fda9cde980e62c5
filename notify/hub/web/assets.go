package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static openapi.yaml
var embedded embed.FS

// asset is a file of the page, ready to be sent.
type asset struct {
	kind, tag     string
	plain, packed []byte
}

// kinds are the media types of the page's files. They are not asked of the system, which may say something else.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml", ".yaml": "application/yaml", ".txt": "text/plain; charset=utf-8",
}

// loadAssets reads the embedded files, by the path below /assets.
func loadAssets() (map[string]*asset, error) {
	files := map[string]*asset{}
	err := fs.WalkDir(embedded, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kind, known := kinds[path.Ext(name)]
		if !known {
			return fmt.Errorf("page file %s: no media type is known for its ending", name)
		}
		plain, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		files[strings.TrimPrefix(name, "static/")] = &asset{
			kind: kind, tag: `"` + hex.EncodeToString(sum[:12]) + `"`, plain: plain, packed: pack(plain),
		}
		return nil
	})
	return files, err
}

// send answers with the file, or with 304 where the reader has it. Nothing is taken from a cache unasked: the files of two
// versions do not go together.
func (a *asset) send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", a.tag)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Add("Vary", "Accept-Encoding")
	for given := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(given), "W/") == a.tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Del("Vary") // sendEither says it again
	sendEither(w, r, a.plain, a.packed)
}

func (h *Handler) getAsset(w http.ResponseWriter, r *http.Request) {
	file := h.files[strings.TrimPrefix(r.URL.Path, "/assets/")]
	if file == nil {
		http.NotFound(w, r)
		return
	}
	file.send(w, r)
}

// getPage is the page, at every address that the page's own links have.
func (h *Handler) getPage(w http.ResponseWriter, r *http.Request) { h.files["index.html"].send(w, r) }

// getDescription is the description of the API.
func (h *Handler) getDescription(w http.ResponseWriter, r *http.Request) {
	h.files["openapi.yaml"].send(w, r)
}
