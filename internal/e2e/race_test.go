//go:build race

package e2e

// raceDetector tells whether these tests, and so the programs that they build, have the race detector in them.
const raceDetector = true
