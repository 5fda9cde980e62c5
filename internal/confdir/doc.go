// Package confdir lists the files of drop-in directories, such as sysctl.d or modules-load.d, below a root.
//
// The rule is the same for all programs that read such directories: of several files of one name the first directory's
// counts, whatever it holds, so that an empty file, a link to /dev/null, a dangling link or a directory hides the others;
// what remains is read in the byte order of the names. Links are followed as if the root were the root directory, which
// [os.Root] does not do for absolute ones.
//
// A file that cannot be read is no error of the listing, since the programs pass over it too: it is in the list with its
// error. Nothing here writes.
package confdir
