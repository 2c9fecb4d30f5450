"""Hostile and broken files: made by hand, one for each trick that is known, and by mutation.

Each is of a kind, which says what reads it (`hostile_reader.READERS`).
"""

import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from copy import deepcopy

import numpy as np
import safetensors.torch
import torch
from PIL import Image

TOUCH = 'touch executed'  # what a file does that is run
WIDTH, HEIGHT = 40, 30


class Evil:
    def __init__(self, function=os.system, *arguments):
        self.function, self.arguments = function, arguments or (TOUCH,)

    def __reduce__(self):
        return self.function, self.arguments


# Pickles written by hand: each function returns the opcodes that leave its value on the stack.


def name(path):
    module, _, attribute = path.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode()


def text(value):
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def number(value):
    content = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
    return b'\x8a' + bytes([len(content)]) + content


def row(*values):
    return b'(' + b''.join(values) + b't'


def call(function, *arguments):
    return function + row(*arguments) + b'R'


def build(instance, state):
    return instance + state + b'b'


FALSE, NONE, EMPTY = b'\x89', b'N', b'}'
BUFFER = name('mmengine.logging.history_buffer.HistoryBuffer')


def array(dtype, content):
    blank = call(
        name('numpy.core.multiarray._reconstruct'), name('numpy.ndarray'), row(number(0)), text('b')
    )
    raw = call(name('_codecs.encode'), text(content), text('latin1'))
    return build(blank, row(number(1), row(number(1)), dtype, FALSE, raw))


def dtype(state, code='f8'):
    return build(call(name('numpy.dtype'), text(code), FALSE, b'\x88'), row(*state))


def rebuilt(size, stride, offset=0):
    storage = row(
        text('storage'), name('torch.FloatStorage'), text('0'), text('cpu'), number(1)
    ) + b'Q'  # fmt: skip
    return call(
        name('torch._utils._rebuild_tensor_v2'), storage, number(offset),
        row(*map(number, size)), row(*map(number, stride)), FALSE,
        call(name('collections.OrderedDict')),
    )  # fmt: skip


def reach(path):
    """`getattr` of a log buffer, used to come from its methods' globals to `eval`."""

    def of_buffer(attribute):
        return call(name('builtins.getattr'), BUFFER, text(attribute))

    def apply(function, kind, *arguments):  # which calls any function that is on the stack
        rebuild = name('torch._tensor._rebuild_from_type_v2')
        return call(rebuild, function, kind, row(*arguments), EMPTY)

    any_attribute, of_type = of_buffer('__getattribute__'), of_buffer('__class__')

    def kind_of(value):
        return apply(any_attribute, of_type, value, text('__class__'))

    a_dict, a_method = kind_of(EMPTY), kind_of(of_buffer('mro'))
    scope = apply(any_attribute, a_dict, of_buffer('__init__'), text('__globals__'))
    get = apply(any_attribute, a_method, scope, text('get'))
    builtins = apply(get, a_dict, text('__builtins__'))
    get = apply(any_attribute, a_method, builtins, text('get'))
    evaluate = apply(get, a_method, text('eval'))
    return apply(evaluate, kind_of(number(1)), text(f"__import__('os').system('{path}')"))


NATIVE = [number(3), text('<'), NONE, NONE, NONE, number(-1), number(-1)]
OBJECT = call(name('numpy.dtype'), text('O8'), FALSE, b'\x88')
FIELDS = EMPTY + text('a') + row(OBJECT, number(0)) + b's'
META = call(
    name('torch._utils._rebuild_meta_tensor_no_storage'), name('torch.float32'),
    row(number(1 << 40)), row(number(1)), FALSE,
)  # fmt: skip
PICKLES = {
    'the system by getattr': reach(TOUCH),
    'getattr of something else': call(name('builtins.getattr'), name('torch.Tensor'), text('data')),
    'another attribute of the log': call(name('builtins.getattr'), BUFFER, text('__init__')),
    'a dtype of objects': array(OBJECT, 'A' * 8),
    'a dtype with objects for fields': array(
        dtype([*NATIVE[:1], text('|'), NONE, row(text('a')), FIELDS, *[number(8)] * 2, number(0)]),
        'A' * 8,
    ),
    'a dtype with flags of objects': array(dtype([*NATIVE, number(63)], 'V8'), 'A' * 8),
    'an array of too few bytes': array(dtype([*NATIVE, number(0)]), 'A'),
    'an array out of thin air': call(name('numpy.ndarray'), row(number(1 << 45))),
    'a tensor larger than all memory': rebuilt([1 << 45], [1]),
    'a tensor of 16 GB': rebuilt([1 << 32], [1]),
    'a tensor expanded to 4 TB': rebuilt([1 << 40], [0]),
    'a tensor of huge stride': rebuilt([2], [1 << 33]),
    'a tensor from beyond': rebuilt([1], [1], 1 << 33),
    'a tensor of negative size': rebuilt([-1], [1]),
    'a tensor of negative stride': rebuilt([4], [-1]),
    'a tensor whose size overflows': rebuilt([1 << 62, 1 << 62], [1, 1]),
    'a tensor without numbers': META,
    'a buffer of a terabyte': call(name('builtins.bytearray'), number(1 << 45)),
    'a storage of a terabyte': call(name('torch.storage.UntypedStorage'), number(1 << 45)),
    'lists in lists': b']' * 200_000 + b'a' * 199_999,
    'a call of what is no function': call(text('print'), text('x')),
    'a blocked module': call(name('sys.exit')),
    'eval': call(name('builtins.eval'), text(f"__import__('os').system('{TOUCH}')")),
    'a function of the package': call(name('mmvisattn.weights.files.write_checkpoint'), text('x')),
    'a config': call(name('mmengine.config.Config.fromstring'), text('x'), text('.py')),
    'numpy loading a pickle': call(name('numpy.load'), text('x.npy'), NONE, b'\x88'),
}  # fmt: skip


def zipped(path, pickled, compression=zipfile.ZIP_STORED, **parts):
    """A file as `torch.save` writes it, with a pickle, and parts, of one's own."""
    whole = io.BytesIO()
    torch.save({'w': torch.zeros(1)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, 'w', compression) as archive:
        for entry in source.namelist():
            own = {'data.pkl': pickled, **parts}.get(entry.partition('/')[2])
            archive.writestr(entry, source.read(entry) if own is None else own)


def weights(folder, run):
    """Checkpoints, of the kinds that are read to start from and to resume."""
    for what, opcodes in PICKLES.items():
        path = folder / f'{what}.pth'
        zipped(
            path, b'\x80\x02' + EMPTY + text('state_dict') + EMPTY + text('w') + opcodes + b'ss.'
        )
        yield 'weights', path, False
    contents = {
        'os.system': Evil(),
        'exec': Evil(exec, f"__import__('os').system('{TOUCH}')"),
        'an import': Evil(__import__, 'antigravity'),
        'an array of objects': np.array([Evil()], dtype=object),
        'a sparse tensor': torch.eye(3).to_sparse(),
        'a quantized tensor': torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8),
        'a class': Evil,
        'a module': torch.nn.Linear(2, 2),
    }
    for what, content in contents.items():
        for zips in (True, False):
            path = folder / f'{what}{"" if zips else ", unzipped"}.pth'
            torch.save(
                {'state_dict': {'w': torch.zeros(1)}, 'meta': content},
                path,
                _use_new_zipfile_serialization=zips,
            )
            yield 'weights', path, False
    odd = {
        'names that are numbers': ({1: torch.ones(1), 2: {}}, True),
        'parameters that are a text': ({'state_dict': 'w', 'model': 3}, True),
        'complex parameters': ({'layer.weight': torch.ones(2, 3, dtype=torch.complex64)}, True),
        'nothing': ({}, True),
        'numbers that are none': ({'layer.weight': torch.full((2, 3), torch.nan)}, True),
        'a list': ([torch.ones(1)], False),
        'a tensor': (torch.ones(1), False),
        'a text': ('weights', False),
    }  # fmt: skip
    for what, (content, sound) in odd.items():
        torch.save(content, folder / f'{what}.pth')
        yield 'weights', folder / f'{what}.pth', sound
    for protocol in range(6):
        path = folder / f'pickle {protocol}.pth'
        path.write_bytes(pickle.dumps({'state_dict': Evil()}, protocol=protocol))
        yield 'weights', path, False
    yield from _archives_for_weights(folder)
    yield from _safetensors(folder)
    yield from _no_files(folder, 'weights', '.pth')

    content = torch.load(run, weights_only=False)
    meta = content['meta']
    resumed = {
        'a config to run': (dict(meta, config=f"import os\nos.system('{TOUCH}')"), True),
        'no meta': ('meta', False),
        'no iteration': ({'epoch': 0}, False),
        'an iteration below 0': (dict(meta, iter=-1), False),
        'an iteration that is a text': (dict(meta, iter='1'), False),
    }
    for what, (changed, sound) in resumed.items():
        torch.save({**content, 'meta': changed}, folder / f'{what}.pth')
        yield 'resume', folder / f'{what}.pth', sound
        if sound:
            yield 'go on', folder / f'{what}.pth', sound


def _archives_for_weights(folder):
    bomb = folder / 'a zip bomb.pth'
    pickled = b'\x80\x02' + EMPTY + text('w') + rebuilt([1], [1]) + b's.'
    zipped(bomb, pickled, zipfile.ZIP_DEFLATED, **{'data/0': bytes(32 << 20)})
    yield 'weights', bomb, False
    claims = folder / 'a record that claims 3 GB.pth'
    zipped(claims, pickled)
    content = bytearray(claims.read_bytes())
    for start in (content.find(b'PK\x01\x02'), content.rfind(b'PK\x01\x02')):
        content[start + 24 : start + 28] = struct.pack('<I', 3 << 30)
    claims.write_bytes(content)
    yield 'weights', claims, False
    script = folder / 'a TorchScript.pth'
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    yield 'weights', script, False
    old = folder / 'an old tar.pth'
    with tarfile.open(old, 'w') as archive:
        for member in ('sys_info', 'pickle', 'storages', 'tensors', '../escaped'):
            content = pickle.dumps(Evil(), protocol=2)
            header = tarfile.TarInfo(member)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    yield 'weights', old, False
    plain = folder / 'an archive.pth'
    with zipfile.ZipFile(plain, 'w') as archive:
        archive.writestr('../escaped', TOUCH)
        archive.writestr('config.py', TOUCH)
    yield 'weights', plain, False


def _safetensors(folder):
    def header(content, tail=b'', length=None):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        return struct.pack('<Q', len(content) if length is None else length) + content + tail

    one = dict(dtype='F32', shape=[1], data_offsets=[0, 4])
    contents = {
        'a header of 8 EB': header(b'{}', length=(1 << 63) - 1),
        'a header longer than the file': header(b'{}', length=1 << 20),
        'a header that is no json': header(b'{"w": '),
        'a header nested deeply': header(b'{"w":' * 50_000),
        'a header that is a list': header([one]),
        'tensors that overlap': header({'v': one, 'w': one}, bytes(4)),
        'a tensor beyond the end': header({'w': dict(one, data_offsets=[0, 1 << 40])}, bytes(4)),
        'a tensor that ends first': header({'w': dict(one, data_offsets=[4, 0])}, bytes(4)),
        'an unknown dtype': header({'w': dict(one, dtype='PICKLE')}, bytes(4)),
        'a shape that overflows': header({'w': dict(one, shape=[1 << 62, 1 << 62])}, bytes(4)),
        'a negative shape': header({'w': dict(one, shape=[-1])}, bytes(4)),
    }  # fmt: skip
    for what, content in contents.items():
        path = folder / f'{what}.safetensors'
        path.write_bytes(content)
        yield 'weights', path, False
    yield from _no_files(folder, 'weights', '.safetensors')


def _no_files(folder, kind, suffix):
    """What stands where a file should, and files of nothing."""
    contents = {
        'empty': b'',
        'text': b'hello',
        'a page': b'<!DOCTYPE html><html>not found</html>',
        'zeros': bytes(1000),
        'noise': random.Random(0).randbytes(1000),
        'half a zip': b'PK\x03\x04' + bytes(40),
        'no utf-8': b'\xff\xfe\x00x' * 10,
    }
    for what, content in contents.items():
        path = folder / f'{what}{suffix}'
        path.write_bytes(content)
        yield kind, path, False
    places = {
        'a folder': lambda path: path.mkdir(),
        'a pipe': os.mkfifo,
        'a link to nothing': lambda path: path.symlink_to(folder / 'nothing'),
        'a link to itself': lambda path: path.symlink_to(path),
        'endless zeros': lambda path: path.symlink_to('/dev/zero'),
    }
    for what, make in places.items():
        path = folder / f'{what}{suffix}'
        make(path)
        yield kind, path, False


def configs(folder):
    """Configs that are not here, and files that are none."""
    with zipfile.ZipFile(folder / 'configs.zip', 'w') as archive:
        archive.writestr('config.py', f"import os; os.system('{TOUCH}')")
    with tarfile.open(folder / 'configs.tar', 'w') as archive:
        archive.add(folder / 'configs.zip', 'config.py')
    for path in ('configs.zip', 'configs.zip/config.py', 'configs.tar', 'configs.tar/config.py'):
        yield 'config', folder / path, False
    for address in (
        'https://example.com/config.py', 'http://127.0.0.1:1/config.py', 's3://bucket/config.py',
        'file:///etc/config.py', 'ftp://example.com/config.py', 'openmmlab://config.py',
    ):  # fmt: skip
        yield 'config', address, False
    tag = '!!python/object/apply:os.system'
    contents = {
        'a base from the network.py': "_base_ = 'https://example.com/config.py'",
        'a base in an archive.py': "_base_ = 'configs.zip/config.py'",
        'a base from the network.json': '{"_base_": "https://example.com/config.py"}',
        'a base that is a number.json': '{"_base_": 5}',
        'a base that is not there.py': "_base_ = 'nothing.py'",
        'a call.yaml': f'model: {tag} ["{TOUCH}"]',
        'a call by its name.yml': f'? !!python/name:os.system\n: {tag} ["{TOUCH}"]',
        'a new object.yaml': 'a: !!python/object/new:subprocess.Popen [[touch, executed]]',
        'a list.json': '[1, 2]',
        'a number.yaml': '5',
        'lists in lists.json': '[' * 100_000,
        'dicts in dicts.yaml': '{a: ' * 5_000,
        'null.py': 'model = 1\0',
        'brackets.py': '(' * 100_000,
        'minus signs.py': 'x = ' + '-' * 1_000_000 + '1',
        'no Python.py': 'model = dict(',
        'tabs.py': 'if 1:\n\tx = 1\n        y = 2',
        'a weight.pth': 'model = 1',
        'a model that is a number.json': '{"model": 5}',
        'a model of no type.json': '{"model": {"type": "os.nothing"}}',
        'loaders that are numbers.json': '{"model": {}, "train_dataloader": 5}',
    }
    for what, content in contents.items():
        (folder / what).write_text(content)
        yield 'config', folder / what, False
    for suffix in ('.py', '.json', '.yaml'):
        yield from _no_files(folder, 'config', suffix)
    tuples = folder / 'a tuple.yaml'
    tuples.write_text('model: {a: !!python/tuple [1, 2]}')
    yield 'config', tuples, True


def coco():
    """A sound annotation file of two pictures."""
    images = [dict(id=i, file_name=f'{i}.jpg', width=WIDTH, height=HEIGHT) for i in (1, 2)]
    box = dict(bbox=[1, 1, 9, 9], area=81, iscrowd=0)
    polygon = [[1, 1, 9, 1, 9, 9]]
    annotations = [
        dict(box, id=1, image_id=1, category_id=1, segmentation=polygon),
        dict(box, id=2, image_id=2, category_id=2, segmentation=polygon),
        dict(
            box, id=3, image_id=2, category_id=1, iscrowd=1,
            segmentation=dict(size=[HEIGHT, WIDTH], counts=[0, WIDTH * HEIGHT]),
        ),
    ]  # fmt: skip
    categories = [dict(id=1, name='person'), dict(id=2, name='dog')]
    return dict(images=images, categories=categories, annotations=annotations)


def panoptic():
    """A sound panoptic annotation file of the two pictures; their PNG files show segment 1."""
    segment = dict(id=1, category_id=1, iscrowd=0, bbox=[0, 0, WIDTH, HEIGHT], area=WIDTH * HEIGHT)
    annotations = [
        dict(image_id=i, file_name=f'{i}.png', segments_info=[segment]) for i in (1, 2)
    ]  # fmt: skip
    categories = [dict(id=1, name='person', isthing=1), dict(id=2, name='sky', isthing=0)]
    return dict(images=coco()['images'], categories=categories, annotations=annotations)


def pictures_beside(folder):
    """What those annotation files speak of."""
    for i in (1, 2):
        Image.new('RGB', (WIDTH, HEIGHT), (9, 99, 199)).save(folder / f'{i}.jpg')
        Image.new('RGB', (WIDTH, HEIGHT), (1, 0, 0)).save(folder / f'{i}.png')


def annotations(folder):
    """COCO files with something in them that no tool writes."""
    pictures_beside(folder)
    (folder / 'sub').mkdir()
    os.mkfifo(folder / 'sub' / 'pipe.jpg')

    def changed(place, sound=False, of=coco, **keys):
        content = of()
        part = content
        for key in place:
            part = part[key]
        part.update(keys)
        return json.dumps(content), sound

    image, first = ('images', 0), ('annotations', 0)
    runs = dict(size=[HEIGHT, WIDTH])
    contents = {
        'sound': changed(image, True),
        'a name that leads out': changed(image, True, file_name='../annotations/1.jpg'),
        'a whole path': changed(image, True, file_name=str(folder / '1.jpg')),
        'a device': changed(image, file_name='/dev/zero'),
        'a device from here': changed(image, file_name='../' * 40 + 'dev/zero'),
        'a secret': changed(image, file_name='../' * 40 + 'etc/passwd'),
        'named as a pipe': changed(image, file_name='sub/pipe.jpg'),
        'named as a folder': changed(image, file_name='sub'),
        'no name': changed(image, file_name=''),
        'a name with null': changed(image, file_name='1.jpg\0'),
        'a name too long': changed(image, file_name='x' * 5000),
        'a name that is no text': changed(image, file_name='\ud800'),
        'a name for the terminal': changed(image, file_name='\x1b[2J\x07'),
        'a name that is a number': changed(image, file_name=1),
        'a width beyond all': changed(image, width=10**400),
        'a width below 0': changed(image, width=-WIDTH),
        'an id of a list': changed(image, id=[1]),
        'an id of a dict': changed(first, id={'a': 1}),
        'an id twice': changed(image, id=2),
        'an id of 4000 digits': changed(first, id=10**4000, image_id=7),
        'a box beyond all': changed(first, bbox=[0, 0, 10**400, 1]),
        'a box without end': changed(first, bbox=[0, 0, float('inf'), 1]),
        'a box of no number': changed(first, bbox=[0, 0, float('nan'), 1]),
        'a box of texts': changed(first, bbox=['0'] * 4),
        'a box of lists': changed(first, bbox=[[]] * 4),
        'a box that is a text': changed(first, bbox='0123'),
        'an area beyond all': changed(first, area=10**400),
        'a crowd of crowds': changed(first, iscrowd=[0]),
        'a mask that is a number': changed(first, segmentation=5),
        'a mask of texts': changed(first, segmentation=[['x'] * 6]),
        'runs without end': changed(first, segmentation=dict(runs, counts='o' * 1_000_000)),
        'runs of another picture': changed(first, segmentation=dict(size=[1, 1], counts=[1])),
        'runs below 0': changed(first, segmentation=dict(runs, counts=[-1, WIDTH * HEIGHT + 1])),
        'runs of no characters': changed(first, segmentation=dict(runs, counts='\uffff' * 9)),
        'runs that are a dict': changed(first, segmentation=dict(runs, counts={})),
        'keypoints of texts': changed(first, keypoints=['x'] * 51),
        'a category that is null': changed(('categories', 0), id=None),
        'a name of a category that is a list': changed(('categories', 0), name=['person']),
        'a category of keypoints': changed(('categories', 0), True, keypoints=['nose'] * 17),
        'images that are a dict': changed((), images={}),
        'no annotations': changed((), annotations=None),
        'annotations of null': changed((), annotations=[None]),
        'lists in lists': ('{"images": ' + '[' * 100_000, False),
        'a number of 5000 digits': ('{"images": [' + '9' * 5000 + ']}', False),
        'a list': ('[]', False),
        'cut off': (json.dumps(coco())[:-40], False),
    }
    for what, (content, sound) in contents.items():
        path = folder / f'{what}.json'
        path.write_text(content)
        yield 'coco', path, sound
    yield from _no_files(folder, 'coco', '.json')

    folder = folder / 'panoptic'
    folder.mkdir()
    pictures_beside(folder)
    segment = ('annotations', 0, 'segments_info', 0)
    contents = {
        'sound': changed((), True, panoptic),
        'a segment beyond all': changed(segment, False, panoptic, id=1 << 70),
        'a segment that is a text': changed(segment, False, panoptic, id='1'),
        'a category of a list': changed(segment, False, panoptic, category_id=[1]),
        'segments of null': changed(first, False, panoptic, segments_info=[None]),
        'a device': changed(image, False, panoptic, file_name='/dev/zero'),
        'a file that leads out': changed(first, False, panoptic, file_name='../../x.png'),
        'a thing that is a dict': changed(('categories', 0), False, panoptic, isthing={}),
    }
    for what, (content, sound) in contents.items():
        path = folder / f'{what}.json'
        path.write_text(content)
        yield 'panoptic', path, sound


def png(width, height, content=b'', depth=8, colour=2):
    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    size = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b'IHDR', size) + chunk(b'IDAT', zlib.compress(content)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def pictures(folder):
    """Pictures that claim, lack or hide something, and sound ones of rare kinds."""
    made = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))

    def saved(form, mode='RGB', **options):
        content = io.BytesIO()
        made.convert(mode).save(content, form, **options)
        return content.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg, whole = saved('JPEG'), saved('PNG')
    odd_exif = b'\xff\xe1\x00\x10Exif\0\0' + b'\xff' * 8
    contents = {
        'sound.jpg': (jpeg, True),
        'grey.jpg': (saved('JPEG', 'L'), True),
        'four colours.jpg': (saved('JPEG', 'CMYK'), True),
        'turned.jpg': (saved('JPEG', exif=exif), True),
        'turned by what is no number.jpg': (jpeg[:2] + odd_exif + jpeg[2:], None),
        'palette.png': (saved('PNG', 'P'), True),
        'transparent.png': (saved('PNG', 'RGBA'), True),
        'a TIFF.jpg': (saved('TIFF'), True),
        'a WebP.jpg': (saved('WEBP'), True),
        'a GIF.jpg': (saved('GIF', 'P'), None),
        'a bitmap.jpg': (saved('BMP'), True),
        'a drawing.jpg': (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', False),
        'PostScript.jpg': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print', False),
        '16 bits.png': (png(2, 2, bytes(2 * 5), 16, 0), None),
        'cut in the head.jpg': (jpeg[:20], False),
        'cut in the middle.jpg': (jpeg[: len(jpeg) // 2], False),
        'cut in the middle.png': (whole[: len(whole) // 2], False),
        'spoilt in the middle.png': (whole[:90] + bytes(9) + whole[99:], False),
        '60000 x 60000.png': (png(60_000, 60_000), False),
        '20000 x 20000.png': (png(20_000, 20_000), False),
        '4 billion wide.png': (png((1 << 31) - 1, 1), False),
        'no pixels.png': (png(0, 0), False),
        'a zip bomb.png': (png(16_000, 16_000, bytes(16_000 * 4_000)), False),
    }  # fmt: skip
    for what, (content, sound) in contents.items():
        path = folder / what
        path.write_bytes(content)
        yield 'picture', path, sound
    for suffix in ('.jpg', '.png'):
        yield from _no_files(folder, 'picture', suffix)
    for path in ('60000 x 60000.png', 'no pixels.png', 'empty.png', 'a pipe.png', 'a folder.png'):
        yield 'labels', folder / path, False


def lists(folder):
    """Lists of pictures and labels, as ImageNet has them."""
    pictures_beside(folder)
    contents = {
        'sound': (b'1.jpg 0\n2.jpg 1\n', True),
        'a label below 0': (b'1.jpg -1\n', False),
        'a label of 5000 digits': (b'1.jpg ' + b'9' * 5000, False),
        'a label that is a superscript': ('1.jpg ²'.encode(), False),
        'a name with null': (b'1.jpg\0 0\n', False),
        'a name too long': (b'x' * 5000 + b' 0\n', False),
        'a device': (b'/dev/zero 0\n', False),
        'no names': (b'0\n1\n\n', False),
    }
    for what, (content, sound) in contents.items():
        (folder / f'{what}.txt').write_bytes(content)
        yield 'list', folder / f'{what}.txt', sound
    yield from _no_files(folder, 'list', '.txt')


def predictions():
    """Sound rows of each kind, for the pictures of `coco`."""
    one = dict(image_id=1, category_id=1, score=0.5)
    mask = dict(size=[HEIGHT, WIDTH], counts='0`U1')  # all of it
    return {
        'bbox': [dict(one, bbox=[1, 1, 9, 9]), dict(one, image_id=2, bbox=[0, 0, 5.5, 5])],
        'segm': [dict(one, bbox=[1, 1, 9, 9], segmentation=mask)],
        'keypoints': [dict(one, keypoints=[1.0, 2.0, 0.5] * 17)],
    }  # fmt: skip


def results(folder):
    """Predictions that a test did not write."""
    rows = predictions()
    box, mask, pose = (rows[kind][0] for kind in ('bbox', 'segm', 'keypoints'))

    def masked(**changes):
        return [dict(mask, segmentation={**mask['segmentation'], **changes})]

    contents = {
        'sound.bbox': (rows['bbox'], True),
        'sound.segm': (rows['segm'], True),
        'sound.keypoints': (rows['keypoints'], True),
        'none.bbox': ([], True),
        'a picture of a list.bbox': ([dict(box, image_id=[1])], False),
        'a picture of another set.bbox': ([dict(box, image_id=99)], False),
        'a picture that is a text.bbox': ([dict(box, image_id='1'), box], False),
        'a box of three.bbox': ([dict(box, bbox=[1, 1, 9])], False),
        'a box of texts.bbox': ([dict(box, bbox=['1'] * 4)], False),
        'a box of no number.bbox': ([dict(box, bbox=[float('nan')] * 4)], False),
        'a score of a list.bbox': ([dict(box, score=[1])], False),
        'a score beyond all.bbox': ([dict(box, score=10**400)], False),
        'no score.bbox': ([dict(image_id=1, bbox=[1, 1, 9, 9])], False),
        'a dict.bbox': ({'a': 1}, False),
        'null.bbox': ([None], False),
        'a mask too short.segm': (masked(counts='P1'), False),
        'a mask without size.segm': (masked(size=None), False),
        'a mask of no size.segm': (masked(size=[0, 0]), False),
        'a mask of polygons.segm': ([dict(mask, segmentation=[[1, 1, 9, 1, 9, 9]])], False),
        'a mask of numbers.segm': (masked(counts=[0, 1200]), False),
        'a mask without end.segm': (masked(counts='o' * 1_000_000), False),
        'a pose of two.keypoints': ([dict(pose, keypoints=[1, 2])], False),
        'a pose of texts.keypoints': ([dict(pose, keypoints=['x'] * 51)], False),
    }  # fmt: skip
    for what, (content, sound) in contents.items():
        (folder / f'{what}.json').write_text(json.dumps(content))
        yield 'results', folder / f'{what}.json', sound
    yield from _no_files(folder, 'results', '.bbox.json')


def pickled_annotations(folder):
    """Annotation files that are pickles: plain data is read, and nothing else."""
    contents = {
        'sound': (coco(), True),
        'os.system': (Evil(), False),
        'exec': ({'images': [Evil(exec, f"__import__('os').system('{TOUCH}')")]}, False),
        'an array': (np.ones(3), False),
        'a dict of another class': (OrderedDict(a=1), False),
    }
    for what, (content, sound) in contents.items():
        for suffix in ('.pkl', '.pickle'):
            path = folder / (what + suffix)
            path.write_bytes(pickle.dumps(content))
            yield 'pickle', path, sound
    # MMEngine opens what a config names, a pipe too.
    yield from (made for made in _no_files(folder, 'pickle', '.pkl') if made[1].is_file())
    memo = folder / 'a memo of 64 GB.pkl'
    memo.write_bytes(b'\x80\x02]r\xff\xff\xff\xff.')
    yield 'pickle', memo, False


def archives(folder):
    """Tar archives that write where they should not."""
    members = {
        'sound': ('data/x.txt', {}, True),
        'up': ('../escaped', {}, False),
        'from the root': (str(folder.parent / 'escaped'), {}, None),  # taken below the folder
        'a link out': ('link', dict(type=tarfile.SYMTYPE, linkname='../../escaped'), False),
        'a hard link out': ('link', dict(type=tarfile.LNKTYPE, linkname='../../escaped'), False),
        'a device': ('zero', dict(type=tarfile.CHRTYPE, devmajor=1, devminor=5), False),
        'a named pipe': ('pipe', dict(type=tarfile.FIFOTYPE), False),
    }
    for what, (member, settings, sound) in members.items():
        for compression in ('', 'gz'):
            path = folder / '.'.join(filter(None, [what, 'tar', compression]))
            with tarfile.open(path, f'w:{compression}') as archive:
                header = tarfile.TarInfo(member)
                for key, value in settings.items():
                    setattr(header, key, value)
                header.size = 0 if settings else len(TOUCH)
                archive.addfile(header, io.BytesIO(TOUCH.encode()))
            yield 'archive', path, sound


# Mutation


ODD = [
    None, True, -1, 0, 10**400, 1e308, float('nan'), float('inf'), '', '\ud800', '../../x',
    '/dev/zero', 'x' * 5000, [], {}, [[]], {'a': {}}, [None] * 3, '\0',
]  # fmt: skip
NUMBERS = [b'\0' * 4, b'\xff' * 4, b'\x7f\xff\xff\xff', b'\xff\xff\xff\x7f', b'\0\0\0\x80']


def mutated(content, rng):
    """The bytes of a file with one to four changes: flipped, cut, doubled, moved, overwritten."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, to = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        short = min(to, at + rng.randint(1, 32))
        change = rng.randrange(7)
        if change == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif change == 1 and rng.random() < 0.3:
            del content[at:]
        elif change == 2:
            del content[at:short]
        elif change == 3:
            content[at:at] = content[at:short] * rng.randint(1, 3)
        elif change == 4:
            content[at:at] = rng.randbytes(rng.randint(1, 8))
        elif change == 5:
            odd = rng.choice(NUMBERS)
            content[at : at + len(odd)] = odd
        else:
            content[at:short] = content[to : to + short - at]
    return bytes(content)


def mutated_json(content, rng):
    """A json with one to three of its values exchanged for odd ones."""
    whole = json.loads(content)
    for _ in range(rng.choice([1, 1, 2, 3])):
        part, key = [whole], 0
        while isinstance(part[key], (dict, list)) and part[key] and rng.random() < 0.85:
            part = part[key]
            key = rng.choice(list(part)) if isinstance(part, dict) else rng.randrange(len(part))
        if isinstance(part, dict) and rng.random() < 0.2:
            del part[key]
        else:
            part[key] = deepcopy(rng.choice(ODD))
        if not isinstance(whole, (dict, list)):
            break
    return json.dumps(whole).encode()


def mutated_zip(content, rng):
    """A checkpoint whose pickle is changed, but not the archive around it."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, 'w') as archive:
        for entry in source.namelist():
            part = source.read(entry)
            archive.writestr(entry, mutated(part, rng) if entry.endswith('data.pkl') else part)
    return made.getvalue()


def seeds(folder, run):
    """(kind, name, content, mutators) of the sound files that are mutated."""
    pictures_beside(folder)
    content = torch.load(run, weights_only=False)
    old = io.BytesIO()
    torch.save(content, old, _use_new_zipfile_serialization=False)
    state = safetensors.torch.save(dict(content['state_dict']))
    zips, jsons = [mutated, mutated_zip, mutated_zip], [mutated, mutated_json]
    yield 'resume', 'run.pth', run.read_bytes(), zips
    yield 'weights', 'run.pth', run.read_bytes(), zips
    yield 'weights', 'old.pth', old.getvalue(), [mutated]
    yield 'weights', 'run.safetensors', state, [mutated]
    yield 'coco', 'coco.json', json.dumps(coco()).encode(), jsons
    yield 'panoptic', 'panoptic.json', json.dumps(panoptic()).encode(), jsons
    for kind, rows in predictions().items():
        yield 'results', f'rows.{kind}.json', json.dumps(rows).encode(), jsons
    picture = Image.open(folder / '1.jpg').resize((97, 61))
    for form, suffix in (('JPEG', 'jpg'), ('PNG', 'png'), ('TIFF', 'tif'), ('WEBP', 'webp')):
        made = io.BytesIO()
        picture.save(made, form)
        yield 'picture', f'picture.{suffix}', made.getvalue(), [mutated]
    made = io.BytesIO()
    picture.convert('P').save(made, 'PNG')
    yield 'labels', 'labels.png', made.getvalue(), [mutated]
    yield 'list', 'list.txt', b'1.jpg 0\n2.jpg 1\n', [mutated]
    yield 'pickle', 'annotations.pkl', pickle.dumps(coco(), protocol=4), [mutated]
    settings = dict(model=dict(a=[1, 2]), train_dataloader=dict(batch_size=2), work_dir='x')
    yield 'config', 'config.json', json.dumps(settings).encode(), jsons
    data = b'model: {a: [1, 2], b: {c: &x [d], e: *x}, f: !!python/tuple [1]}\nwork_dir: x\n'
    yield 'config', 'config.yaml', data, [mutated]


MAKERS = {
    maker.__name__: maker
    for maker in (configs, annotations, pictures, lists, results, pickled_annotations, archives)
}
