package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shareWith lets a group read and write a file of ours. Where it may not be given to the group, as an ordinary user may
// not who is no member of it, or whose unit forbids the call, the group is added to the file's access list.
func shareWith(path string, gid int) error {
	chown := os.Chown(path, -1, gid)
	if chown == nil {
		return os.Chmod(path, 0o660)
	}
	if err := unix.Setxattr(path, aclName, groupACL(uint32(gid)), 0); err != nil {
		return errors.Join(chown, fmt.Errorf("add the group to the access list: %w", err))
	}
	return nil
}

// aclName is the attribute that holds a file's access list.
const aclName = "system.posix_acl_access"

// The tags of an access list's entries (include/uapi/linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// groupACL is the access list of a file that its owner and one group may read and write, in the form of the attribute: a
// version, then entries of tag, permissions and id (include/uapi/linux/posix_acl_xattr.h).
func groupACL(gid uint32) []byte {
	const version, readWrite, noID = 2, 0o6, ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{
		{aclUserObj, readWrite, noID}, {aclGroupObj, 0, noID}, {aclGroup, readWrite, gid}, {aclMask, readWrite, noID}, {aclOther, 0, noID},
	} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}
