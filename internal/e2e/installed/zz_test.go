package installed

import "testing"

func TestZRoots(t *testing.T) {
	for _, s := range []string{"bookworm", "bullseye", "trixie"} {
		t.Log(cachedRoot(t, s))
	}
}

func TestZBoot(t *testing.T) {
	_, ns := filled(t)
	m := boot(t, newRoot(t, "bookworm"), ns)
	t.Log(m.run(t, "systemctl", "--failed", "--no-pager"))
	t.Log(m.try(t, "systemctl", "status", "rsyslog", "--no-pager"))
	t.Log(m.try(t, "sh", "-c", "mount | grep -E 'cgroup|proc|sys' ; ls -la /proc/kmsg /var/log /dev/kmsg; cat /proc/1/cgroup"))
	refuse(t, ns)
	t.Log(kernelLines(t, ns.Inode))
	t.Log(m.try(t, "sh", "-c", "sleep 2; journalctl -k -n 3 --no-pager; tail -3 /var/log/kern.log"))
}
