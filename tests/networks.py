"""Small networks of every kind, as Darknet describes them."""

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"


def conv(filters: int, size: int = 3, stride: int = 1, activation: str = "leaky", batch_normalize: int = 1) -> str:
    """A [convolutional] section."""
    return (
        f"[convolutional]\nbatch_normalize={batch_normalize}\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        f"activation={activation}\n"
    )


BODY = NET + conv(8, stride=2) + conv(16, stride=2) + conv(16, stride=2) + conv(32, stride=2)

# One small detector for every kind of head, with the layers that stand before it in the papers' networks.
DETECTORS = {
    "v1": BODY
    + "[local]\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n[dropout]\nprobability=.5\n"
    + "[connected]\noutput=208\nactivation=linear\n"
    + "[detection]\nclasses=3\ncoords=4\nside=4\nnum=2\nsqrt=1\nsoftmax=0\n",
    "v2": BODY
    + "[route]\nlayers=-2\n[reorg]\nstride=2\n[route]\nlayers=-1,-3\n"
    + conv(16, 1, activation="linear", batch_normalize=0)
    + "[region]\nanchors=1.0,1.5, 2.5,1.2\nclasses=3\ncoords=4\nnum=2\nsoftmax=1\n",
    "tree": BODY
    + conv(28, 1, activation="linear", batch_normalize=0)
    + "[region]\nanchors=1.0,1.5, 2.5,1.2\nclasses=9\ncoords=4\nnum=2\nsoftmax=1\ntree=data/9.tree\n",
    "v3": BODY
    + conv(24, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=1,2,3\nanchors=5,8, 16,20, 30,16, 40,50\nclasses=3\nnum=4\n"
    + "[route]\nlayers=-3\n[upsample]\nstride=2\n[route]\nlayers=-1,2\n"
    + conv(8, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=0\nanchors=5,8, 16,20, 30,16, 40,50\nclasses=3\nnum=4\n",
    "v4": BODY
    + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    + conv(16, activation="mish")
    + "[maxpool]\nstride=1\nsize=5\n[shortcut]\nfrom=-3\nactivation=linear\n"
    + conv(16, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=0,1\nanchors=16,20, 30,16\nclasses=3\nnum=2\nscale_x_y=1.05\nnms_kind=greedynms\n",
    "new_coords": BODY
    + conv(16, 1, activation="logistic", batch_normalize=0)
    + "[yolo]\nmask=0,1\nanchors=16,20, 30,16\nclasses=3\nnum=2\nscale_x_y=2.0\nnew_coords=1\n",
}

# A WordTree of two roots and three levels:  0 -> (2, 3), 3 -> (4, 5, 6), 1 -> (7, 8)
PARENTS = (-1, -1, 0, 0, 3, 3, 3, 1, 1)
TREE = "".join(f"n{i:08} {parent}\n" for i, parent in enumerate(PARENTS))
