//go:build !race

package fleet

// raced is true under the race detector, which makes all slower and larger.
const raced = false
