// Package apply carries out a decision on the kernel's limit safely, and undoes it.
//
// Every write goes the same way: the intent is recorded in the runtime directory, which is memory and dies with the
// boot as the kernel's value does; the settings are read again and the write is called off if they are not what the
// decision rests on; the hash is resized first where the decision asks for it; the limit is written under both of its
// names and read back; the outcome is recorded. An intent stays until [Applier.Forget], so that [Applier.Recover] can
// tell at the next start what became of a step that a crash cut short, and finish it.
//
// Beside the kernel's value there are these files: the sysctl.d file that makes a limit last ([Applier.Persist]) with the
// one that has the module loaded in time ([Config.ModuleFile]), the mark that it was applied in this boot
// ([Applier.BootApplied]) and the operator's hold ([Held]).
//
// Nothing here decides whether a step is due, and nothing is logged: errors and values say what happened.
package apply
