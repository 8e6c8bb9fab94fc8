"""The one sealed store for whatever content may be kept, and the keys of subjects.

What it is: a keyring (a key for each subject, which can be destroyed) and files encrypted under those keys, with a lifetime.
What it knows: bytes, subjects, until when something may be kept.
What it does not know: what the bytes say, who asked, or why they are kept.
May import: kernel. Its verbs: `keep`, `erase`.
"""
