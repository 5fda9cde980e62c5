// Package writers finds the programs that set the limit on their own account, by what they leave on the host.
//
// The kernel does not say who wrote a sysctl. kube-proxy works its value out of its flags or its configuration
// ([FindKubeProxy]), tuned has it in its active profile ([Tuned]), and scripts that run at boot name it ([Scripts]). All of
// it is read below a root; nothing is run, and nothing here writes. A file that cannot be read counts as one that is not
// there, but where it is said.
package writers
