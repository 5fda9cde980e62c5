// Package replay tells what ctwarden would have done about the kernel records of the past.
//
// [Run] reads log files and journal directories from end to end, with the same parsing as the live sources, makes
// incidents of the matches ([remediate.History]) and plays each through [remediate.Decide], supposing what old records
// cannot tell: that the table was full at each message, that the limit was what the caller says at the first one, that
// the mode was remediate, that memory was no concern and that the hash had been sized for the ceiling. It changes
// nothing and needs no privilege.
//
// The pieces of a log that was rotated (kern.log, kern.log.1, kern.log.2.gz) are one stream, read in the order in which
// they were written: their matches add up. Two logs (kern.log and syslog) usually hold the same records, so that the
// larger number counts.
//
// The result is a [Report], written as JSON (the contract), as text, or as one self-contained HTML page.
package replay
