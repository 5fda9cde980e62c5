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
	public, sign, err := keyIn(path)
	if err != nil {
		return nil, err
	}
	return nats.Nkey(public, func(nonce []byte) ([]byte, error) {
		// The library names the key that it began with. A server would only say that the signature is not that key's.
		if now, _, err := keyIn(path); err == nil && now != public {
			return nil, because(ProblemFile, "nats.credentials: %s holds another key than when this connection was begun; restart to sign in with it", path)
		}
		return sign(nonce)
	}), nil
}

// keyIn is the public key that belongs to the seed in a file, and what signs with the seed that is there at the time.
func keyIn(path string) (public string, sign nats.SignatureHandler, err error) {
	opt, err := nats.NkeyOptionFromSeed(path)
	var o nats.Options
	if err == nil {
		err = opt(&o)
	}
	if err != nil {
		return "", nil, fmt.Errorf("nats.credentials: %s holds no seed of a user's key: %w", path, err)
	}
	return o.Nkey, o.SignatureCB, nil
}
