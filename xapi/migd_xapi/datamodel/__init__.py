"""The classes of XenAPI as data: fields, types, defaults, who may write them."""
