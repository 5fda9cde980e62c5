// Package sysctld reads the sysctl.d files of a host as systemd-sysctl and procps' "sysctl --system" read them, and
// answers which line has the last word on a setting.
//
// It only reads, below a root that the caller names, and never looks at /proc/sys: a setting that a file names is
// taken to exist. The two programs agree on most points and part on a few, so every question names its [Loader]:
//
//   - Both look into /etc/sysctl.d, /run/sysctl.d, /usr/local/lib/sysctl.d, /usr/lib/sysctl.d and /lib/sysctl.d. Of
//     several files of one name the first directory's is read and the others are not, whatever it holds: an empty
//     file, a link to /dev/null, a dangling link or a directory hides them all the same. What remains is read in the
//     byte order of the names, the last line wins.
//   - procps then reads /etc/sysctl.conf, last of all. systemd does not, but for the link that some distributions put
//     into /etc/sysctl.d.
//   - procps reads hidden files (.x.conf), systemd does not.
//   - The first separator of a key decides: after a "/", dots are part of a name; after a ".", they separate and "/"
//     is part of a name.
//   - A key that is named outright anywhere, also by a bare "-key", is left out of every glob, before or after it.
//     To procps, a key that begins with a separator ("/net/…") is another one in this respect than one that does not.
//   - systemd keeps one value a key. A bare "-key" after "key = v" takes it away again, a different value moves the
//     key to the end of the order of writing, the same value leaves it where it was. procps writes every line in its
//     turn. The order matters for nf_conntrack_max, which has two names for one variable ([Tree.Writes]).
//
// systemd up to 244 ([Systemd244]) knows no globs: neither a pattern nor a bare "-key" does anything there. Nor does a
// "- key" with a blank, and a key that begins with a separator is another one than one that does not.
//
// procps 3 ([Procps3]) knows no globs, and takes "-key" without a value for no setting. Up to 3.3.16 ([Procps316]) it looks
// into /run/sysctl.d before /etc/sysctl.d. systemd from 255 on does not look into /lib/sysctl.d, which there is no other
// directory than /usr/lib/sysctl.d.
//
// All of this was observed with systemd 247, 252 and 257 and procps 3.3.17, 4.0.2 and 4.0.4, but for procps 3.3.16 and
// systemd 244, whose sources (of RHEL 8, 239, the latter) say so, and is compared with the programs on the machine in
// oracle_test.go.
package sysctld
