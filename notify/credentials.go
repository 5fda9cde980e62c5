package notify

import (
	"bytes"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
)

// maxCredentials is the most bytes that a file of credentials may have.
const maxCredentials = 64 << 10

// signIn is how a file of credentials is used: a .creds file holds a user's JWT with the seed of its key; a file with a seed
// alone is for a server that lists the keys of its users. The seed is read anew whenever the server asks for a signature.
func signIn(path string) (nats.Option, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("nats.credentials: %w", err)
	}
	if len(text) > maxCredentials || bytes.Contains(text, []byte("JWT")) || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("SU")) {
		return nats.UserCredentials(path), nil
	}
	opt, err := nats.NkeyOptionFromSeed(path)
	if err != nil {
		return nil, fmt.Errorf("nats.credentials: %s holds no seed of a user's key: %w", path, err)
	}
	return opt, nil
}
